"""Check every assumption and print the verdicts: `python -m benchmarks.gpu_check [--device cpu]`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.findings import Verdict
from benchmarks.gpu_check.sections import SECTIONS, Section
from benchmarks.gpu_check.supervision import (
    BUDGET_S,
    CPU_PATIENCE,
    SectionResult,
    left_out,
    obstacle,
    run_section,
)

FORMAT_VERSION = 1


def main(arguments: Sequence[str], sections: Sequence[Section] = SECTIONS) -> int:
    """The exit code: 1 if an assumption does not hold, a section crashed or hung, or nothing was decided."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the reduced form")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in sections], help="these sections")
    parser.add_argument("--out", type=Path, default=Path("build", "gpu-check.json"), help="the JSON file")
    asked = parser.parse_args(arguments)
    chosen = [one for one in sections if not asked.only or one.name in asked.only]
    results: list[SectionResult] = []
    for result in run_all(chosen, asked.device, is_asked_by_name=bool(asked.only)):
        print("\n".join([f"== {result.section.name}", *lines_of(result)]), flush=True)
        results.append(result)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(document(results, asked.device), indent=2) + "\n", encoding="utf-8")
    print(f"\n{summary(results)}; figures in {asked.out}")
    is_decided = any(one.verdict is Verdict.HOLDS for result in results for one in result.findings)
    return 0 if is_decided and all(result.is_good for result in results) else 1


def run_all(sections: Sequence[Section], device: str, *, is_asked_by_name: bool) -> Iterator[SectionResult]:
    """Run the sections that can run here; without CUDA, none of those that need it."""
    patience = CPU_PATIENCE if device == "cpu" else 1.0
    ends_at = time.monotonic() + BUDGET_S * patience
    without_cuda = ""
    for section in sections:
        why = "" if device == "cuda" or is_asked_by_name else section.on_cpu
        if why := why or obstacle(section) or without_cuda:
            yield left_out(section, why)
            continue
        limit_s = min(section.timeout_s * patience, ends_at - time.monotonic())
        result = run_section(section, device, limit_s=limit_s)
        if any((one.assumption, one.verdict) == ("cuda_starts", Verdict.FAILS) for one in result.findings):
            without_cuda = "CUDA does not start"
        yield result


def lines_of(result: SectionResult) -> list[str]:
    """Lines for people: the verdicts, then the figures."""
    sentences = result.section.assumptions
    lines = [
        f"{one.verdict:<13}  {sentences[one.assumption]}{f' ({one.detail})' if one.detail else ''}"
        for one in result.findings
    ]
    lines += [f"{'':<13}  {name} {value}" for name, value in result.figures.items()]
    if result.broke and not any(one.detail == result.broke for one in result.findings):
        lines.append(f"{'':<13}  then it {result.broke}")
    return lines


def summary(results: Sequence[SectionResult]) -> str:
    """The number of assumptions by verdict."""
    verdicts = [one.verdict for result in results for one in result.findings]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)


def document(results: Sequence[SectionResult], device: str) -> dict[str, Any]:
    """The JSON file: the machine, and each section with its verdicts and figures."""
    figures = {name: value for result in results for name, value in result.figures.items()}
    return {
        "format_version": FORMAT_VERSION,
        "device": figures.get("device_name") or device,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "sections": [
            {
                "name": result.section.name,
                "wall_s": round(result.wall_s, 1),
                "broke": result.broke,
                "findings": [
                    asdict(one) | {"sentence": result.section.assumptions[one.assumption]}
                    for one in result.findings
                ],
                "figures": result.figures,
            }
            for result in results
        ],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
