"""The process that asks a model for a new version of `program.md`.

`python -m runners.research.program_writer FOLDER`: the folder is that of the search; the question is made
of its files, and the answer is written as `written.json`. A process of its own, since engines never run in
ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runners.child import Pipe, die_with_parent, heartbeat, own_stdout
from runners.engines import engine_spec, is_served, open_engine
from runners.models.resolve import fetch_model
from runners.research.agents.asking import ModelDialog, ModelQuery, question_seed
from runners.research.agents.drafts import without_drafts
from runners.research.agents.prompting import Message
from runners.research.comparability import LIMITS, MAX_PROGRAM_BYTES, program_problem
from tracker.errors import TrackerError
from tracker.files.programs import PROGRAMS_FORMAT, SearchLedger
from tracker.records import EngineSettings
from tracker.records.programs import JudgedVersion, ProgramVerdict, ProgramVersion
from tracker.serialization import dump_versioned, write_atomically
from tracker.wording import counted

WRITTEN = "written.json"
SIGN_OF_LIFE = b"\n"
SHOWN_VERSIONS = 8  # the newest, with their reasons and gains
MAX_REASON_CHARS = 300
MAX_ANSWER_CHARS = 4_000  # of one that cannot be used, as it is shown again
LOOP = "max_pattern_size=256,min_count=4"
FENCE = re.compile(r"^(`{3,}|~{3,})")
SYSTEM = (
    "You improve the instructions that a language model reads before it tunes the training of a small "
    "language model in a fixed number of trials. Good instructions make it find larger real gains with fewer "
    "tokens. They may not name settings of one task, since they are also tested on other tasks, and may not "
    "ask for cheating."
)


def writing_messages(
    number: int, best: ProgramVersion, judged: Sequence[JudgedVersion], *, track: str, n_trials: int
) -> list[Message]:
    """The question for version `number`."""
    placeholders = " and ".join(f"`${name}`" for name in LIMITS)
    record = "\n".join(_line(one) for one in judged[-SHOWN_VERSIONS:]) or "None so far."
    content = (
        f"The model works on the track `{track}` and has {counted(n_trials, 'trial')} in each study. "
        "Versions so far, each compared with the best before it (gain in bits per byte at equal tokens):\n"
        f"{record}\n\n"
        f"The best instructions so far, version {best.version}:\n~~~~\n{best.text.strip()}\n~~~~\n\n"
        f"Write version {number}: one idea, stated in a sentence, then the whole new instructions between "
        f"two lines of ~~~~. Keep the placeholders {placeholders}, in whose place numbers are put, and stay "
        f"below {MAX_PROGRAM_BYTES:,} bytes."
    )
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]


def repairing_messages(answer: str, problem: str) -> list[Message]:
    """What follows an answer that cannot be used, once."""
    placeholders = " and ".join(f"`${name}`" for name in LIMITS)
    content = (
        f"That cannot be used: {problem}. Write the whole instructions again between two lines of ~~~~, with "
        f"the placeholders {placeholders}, and nothing after them."
    )
    return [
        {"role": "assistant", "content": answer[:MAX_ANSWER_CHARS]},
        {"role": "user", "content": content},
    ]


def read_program(text: str, number: int, *, proposer: str) -> ProgramVersion:
    """The version in an answer: its last fence, and the reason before the first.

    A fence that is not closed goes to the end. Without any, an answer with all placeholders is the version.
    """
    lines = without_drafts(text).splitlines()
    fences: list[tuple[int, list[str]]] = []
    start, mark = -1, ""
    for n, line in enumerate(lines):
        if start < 0 and (found := FENCE.match(line.strip())):
            start, mark = n, found.group()
        elif start >= 0 and line.strip() == mark:
            fences.append((start, lines[start + 1 : n]))
            start = -1
    if start >= 0 and not fences:
        fences.append((start, lines[start + 1 :]))
    if not fences and all(f"${name}" in text for name in LIMITS):
        fences.append((0, lines))
    if not any(line.strip() for _, some in fences[-1:] for line in some):
        problem = "the answer has no instructions between two lines of ~~~~"
        return ProgramVersion(number, "", proposer=proposer, problem=problem, reply=text)
    rationale = "\n".join(lines[: fences[0][0]]).strip()[:MAX_REASON_CHARS]
    return ProgramVersion(number, "\n".join(fences[-1][1]).strip() + "\n", rationale, proposer)


def without_loops(settings: EngineSettings) -> EngineSettings:
    """With these an answer ends once it is a loop: a small model would write until its context is full."""
    takes_it = "repetition_detection" in engine_spec(settings.engine).settings
    if not takes_it or settings.repetition_detection is not None:
        return settings
    return replace(settings, repetition_detection=LOOP)


def _line(judged: JudgedVersion) -> str:
    gain = "not tried" if judged.gain_bpb is None else f"{judged.gain_bpb:+.4f}"
    kept = "kept" if judged.verdict is ProgramVerdict.ACCEPTED else f"{judged.verdict}"
    why = judged.version.problem or judged.version.rationale
    return f"- version {judged.version.version}: {' '.join(why.split())[:MAX_REASON_CHARS]}: {gain}; {kept}"


def main(argv: Sequence[str]) -> int:
    """Ask the model of the search for its next version."""
    ledger = SearchLedger(Path(argv[1]).resolve())
    try:
        version = _written(ledger)
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    write_atomically(ledger.folder / WRITTEN, dump_versioned(version, PROGRAMS_FORMAT))
    return 0


def _written(ledger: SearchLedger) -> ProgramVersion:
    search = ledger.read_search()
    spec = search.proposer_spec
    assert spec is not None, "versions of a file need no model"
    assert spec.model is not None
    assert spec.settings is not None
    judged: list[JudgedVersion] = []
    best = ledger.version(0)
    number = 1
    while (found := ledger.verdict(number)) is not None:
        if not found.version.is_placebo:
            judged.append(found)
            best = found.version if found.verdict is ProgramVerdict.ACCEPTED else best
        number += 1
    assert best is not None
    engine = open_engine(fetch_model(spec.model, spec.settings), without_loops(spec.settings))
    try:
        dialog = ModelDialog(
            engine, is_server=is_served(spec.settings.engine), thinking=spec.settings.thinking
        )
        messages = writing_messages(number, best, judged, track=search.track, n_trials=search.n_trials)
        seed = question_seed(int(search.secret_hash[:8], 16), number, 0)
        query = ModelQuery(messages, seed)
        dialog.ask([query])
        version = read_program(query.answer, number, proposer=spec.name)
        if (problem := version.problem or program_problem(version.text)) is not None:
            query.ask_again([*messages, *repairing_messages(query.answer, problem)])
            dialog.ask([query])
            version = read_program(query.answer, number, proposer=spec.name)
    finally:
        engine.close()
    exchanges = query.exchanges
    return replace(
        version,
        prompt_tokens=sum(exchange.prompt_tokens for exchange in exchanges),
        output_tokens=sum(exchange.output_tokens for exchange in exchanges),
    )


if __name__ == "__main__":
    die_with_parent()
    with heartbeat(Pipe(own_stdout()), lambda: SIGN_OF_LIFE):  # on a CPU, writing takes minutes
        code = main(sys.argv)
    sys.exit(code)
