"""The output of `tracker research`: JSON documents, and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from runners.research.judgement import SeedJudgement
from tracker.answers.agent_board import OWN, SEEDS, STUDIES, AgentComparison, Group, TaskMean
from tracker.cli.tables import cell, console, plain, print_table
from tracker.files.programs import SearchLedger
from tracker.foreign_text import one_line
from tracker.records.programs import JudgedVersion, ProgramSearch, ProgramVerdict
from tracker.records.studies import Study, changed_numbers
from tracker.research.corpus_report import CorpusReport
from tracker.wording import counted

CONTRACT = (
    "agent", "tier", "track", "seed", "n_trials", "n_valid", "n_accepted", "baseline_bpb", "best_val_bpb",
    "test_bpb", "gain_bpb", "gain_ci_low", "gain_ci_high", "claimed_gain_bpb", "false_accept_rate",
    "prompt_tokens", "output_tokens", "train_s", "status",
)  # fmt: skip
MORE = (
    "reason", "detail", "n_done", "n_rejected", "n_duplicates", "n_invalid", "n_failed", "n_caught",
    "n_placebos", "n_false_accepts", "n_trainings", "cpu_s", "latency_s", "corpus_hash", "sandbox",
    "executor", "warnings", "started_at", "ended_at", "secret_hash", "secret", "transfer_n_params",
    "transfer_n_tokens", "transfer_gain_bpb", "transfer_gain_ci_low", "transfer_gain_ci_high",
    "transfer_detail",
)  # fmt: skip
PUBLIC_SEEDS = "seeds that derive from the study's seed, which an agent could compute"
MARKS = {OWN: " *", STUDIES: " **", SEEDS: ""}  # beside an interval, by its basis
BASIS_NOTES = {
    OWN: "* one study only: the interval is over its pairs of training seeds",
    STUDIES: "** one agent seed only: the interval is over its studies",
}
CAUGHT_NOTE = (
    "! a trial was caught faking its score: that study counts as a gain of at most 0, and its agent ranks"
    " below all agents without one"
)
MINUTE_S = 60
# columns of the board that a narrow terminal lacks, the first of them first
LEAST = (
    "train s", "min/0.01", "tokens/s", "valid", "duplicate", "failed", "at 4x", "false accepts",
    "tokens/0.01", "of TPE", "claimed", "rank",
)  # fmt: skip
LEFT = {"status", "agent", "diff", "change", "role", "verdict", "track", "reason"}


def judgement_document(script: str, tier: str, seeds: Sequence[SeedJudgement]) -> dict[str, Any]:
    """One script under some seeds, as `tracker research judge --json` prints it."""
    return {"script": script, "tier": tier, "seeds": [asdict(one) for one in seeds]}


def corpus_lines(report: CorpusReport) -> list[str]:
    """A corpus for people."""
    splits = ", ".join(f"{split} {n:,}" for split, n in report.n_tokens.items())
    known = "public" if report.is_public else "a secret of this home"
    lines = [
        f"{report.name} {report.hash[:12]}: {report.vocab_size:,} different tokens; tokens: {splits}",
        f"held out by: {known}",
    ]
    if report.is_own_per_training:
        lines.append("each training has a language of its own; this one is not trained on and stands for all")
    for n in sorted({name.split()[1] for name in report.overlap}, key=int):
        shares = [f"{split} {report.overlap[f'{split} {n}']:.1%}" for split in ("val", "select", "test")]
        lines.append(f"runs of {n} bytes that stand in the training text: {', '.join(shares)}")
    if report.ngram_order is not None:
        line = ", ".join(f"{split} {bpb:.3f}" for split, bpb in report.ngram_bpb.items())
        lines.append(f"n-gram table of order {report.ngram_order}: {line} bpb")
    return lines


def judgement_line(found: SeedJudgement) -> str:
    """One seed of a judged script, for people."""
    if found.val is None or found.select is None:
        return f"seed {found.seed}: {found.verdict}, {found.reason}: {one_line(found.detail or '')}"
    gains = f"gain {found.gain_val or 0.0:+.4f} on val, {found.gain_select or 0.0:+.4f} on select"
    return f"seed {found.seed}: {found.verdict}, {gains} ({found.val:.4f} and {found.select:.4f} bpb)"


def study_key_line(key: str, study: Study) -> str:
    """One study of a search for better instructions, as it begins."""
    return f"study {study.study_id}: {key} on {study.tier}"


def program_line(judged: JudgedVersion) -> str:
    """One version of the instructions with its verdict."""
    version = judged.version
    name = "placebo" if version.is_placebo else f"version {version.version}"
    gain = "" if judged.gain_bpb is None else f", {judged.gain_bpb:+.4f} bpb at equal tokens"
    n_pairs = len(judged.pairs) + len(judged.confirmation)
    over = f" over {counted(n_pairs, 'pair')}" if n_pairs else ""
    why = f" ({version.problem or judged.reason})" if version.problem or judged.reason else ""
    return f"{name}: {judged.verdict}{gain}{over}{why}"


def program_result(search: ProgramSearch, ledger: SearchLedger) -> str:
    """The end of a search, in sentences."""
    result = search.result
    assert result is not None, "a complete search has a result"
    placebos = [one for one in ledger.verdicts() if one.version.is_placebo]
    n_false = sum(one.verdict is ProgramVerdict.ACCEPTED for one in placebos)
    said = f"{n_false} of {counted(len(placebos), 'placebo')} falsely accepted"
    if not result.version:
        return f"not confirmed: no version was better than the one it began with; {said}"
    word = "confirmed" if result.is_confirmed else "not confirmed"
    return (
        f"{word}: version {result.version} gains {result.gain_bpb:+.4f} bpb at equal tokens "
        f"({result.gain_ci_low:.4f} to {result.gain_ci_high:.4f}, {counted(len(result.pairs), 'pair')}); "
        f"{said}\n{ledger.text_path(result.version)}"
    )


def program_document(search: ProgramSearch, judged: Sequence[JudgedVersion]) -> dict[str, Any]:
    """A search for better instructions, as `tracker research improve-program --json` prints it."""
    result = search.result
    placebos = [one for one in judged if one.version.is_placebo]
    names = ("agent", "proposer", "tier", "held_out", "track", "n_trials", "status")
    return {
        "search": search.program_id,
        **{name: getattr(search, name) for name in names},
        "version": result.version if result else None,
        "is_confirmed": result.is_confirmed if result else None,
        "gain_bpb": result.gain_bpb if result else None,
        "gain_ci_low": result.gain_ci_low if result else None,
        "gain_ci_high": result.gain_ci_high if result else None,
        "n_pairs": len(result.pairs) if result else 0,
        "n_placebos": len(placebos),
        "n_false_accepts": sum(one.verdict is ProgramVerdict.ACCEPTED for one in placebos),
        "versions": [_version_document(one) for one in judged],
    }


def _version_document(judged: JudgedVersion) -> dict[str, Any]:
    version = judged.version
    pairs = [*judged.pairs, *judged.confirmation]
    return {
        "version": version.version,
        "is_placebo": version.is_placebo,
        "parent": judged.parent,
        "proposer": version.proposer,
        "rationale": version.rationale,
        "verdict": judged.verdict,
        "reason": version.problem or judged.reason,
        "gain_bpb": judged.gain_bpb,
        "p_better": judged.p_better,
        "n_pairs": len(pairs),
        "prompt_tokens": version.prompt_tokens,
        "output_tokens": version.output_tokens,
        "studies": [score.study_id for pair in pairs for score in (pair.parent, pair.child)],
    }


def study_document(row: dict[str, Any], trials: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The study as `tracker research run --json` prints it; `row` is a row of query `studies`."""
    n = row["n_placebos"]
    rates = {"false_accept_rate": row["n_false_accepts"] / n if n else None}
    names = {"agent": row["agent_name"], "study": row["study_id"]}
    whole = row | rates | names
    document = {name: whole[name] for name in ("study", *CONTRACT, *MORE)}
    if trials:
        document["trials"] = [trial_document(trial) for trial in trials]
    return dict(plain(document))


def trial_document(row: dict[str, Any]) -> dict[str, Any]:
    """A row of query `trials` as JSON values, without the scripts, which `tracker query` shows."""
    left_out = {"study_id", "script", "parent"}
    parent = row["parent"].get("params", {}) if isinstance(row["parent"], dict) else {}
    return {name: row[name] for name in row if name not in left_out} | {"parent_params": parent}


def print_study(
    row: dict[str, Any], trials: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]
) -> None:
    """Print a study, its trials and the pairs behind the verdicts."""
    print(f"study {row['study_id']}: {summary(row)}")
    for warning in row["warnings"]:
        print(f"warning: {one_line(warning)}")
    if row["secret_hash"] is None:
        print(f"warning: {PUBLIC_SEEDS}")
    if trials:
        console().print(_trial_table(trials))
    if pairs:
        console().print(_pair_table(pairs))
    print(result_line(row))
    if (line := transfer_line(row)) is not None:
        print(line)


def summary(row: dict[str, Any]) -> str:
    """The agent, the progress and the status on one line."""
    parts = [
        f"{one_line(row['agent_name'])} on {row['tier']}/{row['track']}, seed {row['seed']}",
        f"{row['n_done']} of {row['n_trials']} trials",
        f"{row['n_accepted']} kept",
        *([] if row["executor"] in (None, "local") else [f"trained on {one_line(row['executor'])}"]),
        row["status"] + (f" ({one_line(row['detail'] or row['reason'])})" if row["reason"] else ""),
    ]
    return " · ".join(parts)


def result_line(row: dict[str, Any]) -> str:
    """The confirmed and the claimed gain, and the cost."""
    rate = f"{row['n_false_accepts']} of {row['n_placebos']} placebos falsely accepted"
    cost = f"{row['n_trainings']} trainings, {row['train_s']:.0f} s, {row['cpu_s']:.0f} CPU s"
    tokens = f"{row['prompt_tokens']:,} + {row['output_tokens']:,} tokens"
    if row["gain_bpb"] is None:
        return f"no result yet · {rate} · {cost} · {tokens}"
    if row["gain_bpb"] == 0.0:
        gain = "gain 0, no change was confirmed under fresh seeds"
    else:
        gain = (
            f"gain {row['gain_bpb']:.4f} bpb on test ({row['gain_ci_low']:.4f} to {row['gain_ci_high']:.4f})"
        )
    return f"{gain} · claimed {row['claimed_gain_bpb']:.4f} · {rate} · {cost} · {tokens}"


def transfer_line(row: dict[str, Any]) -> str | None:
    """What the final change gains at a larger size; None: not tried."""
    if row["transfer_gain_bpb"] is None:
        return row["transfer_detail"] and f"at 4 times the size: {one_line(row['transfer_detail'])}"
    return (
        f"at 4 times the size ({counted(row['transfer_n_params'], 'parameter')}): gain"
        f" {row['transfer_gain_bpb']:+.4f} bpb on test"
        f" ({row['transfer_gain_ci_low']:.4f} to {row['transfer_gain_ci_high']:.4f})"
    )


def _trial_table(trials: Sequence[dict[str, Any]]) -> Table:
    table = _table(
        "slot", "verdict", "change", "val", "parent", "P", "claimed", "confirmed", "pairs", "reason"
    )
    for row in trials:
        what = "(placebo)" if row["is_placebo"] else row["problem"] or changed(row)
        table.add_row(
            cell(row["slot"]),
            cell(row["verdict"]),
            cell(_short(what, 60)),
            *(_bpb(row[name]) for name in ("val_bpb", "parent_val_bpb")),
            cell(None if row["p_better"] is None else f"{row['p_better']:.3f}"),
            *(_bpb(row[name], sign=True) for name in ("claimed_gain_bpb", "confirmed_gain_bpb")),
            cell(f"{row['n_pairs']}+{row['n_confirmations']}"),
            cell(_short(row["detail"] or row["reason"] or "", 70)),
        )
    return table


def changed(row: dict[str, Any]) -> str:
    """The numbers in which the trial differs from its parent, or the diff of its script."""
    numbers = changed_numbers(row["parent"].get("params", {}), row["params"] or {})
    return numbers or row["diff"] or "(nothing)"


def _pair_table(pairs: Sequence[dict[str, Any]]) -> Table:
    table = _table("slot", "phase", "pair", "role", "seed", "val", "select", "test", "status", "seconds")
    for row in pairs:
        table.add_row(
            cell("final" if row["slot"] < 0 else row["slot"]),
            cell(row["phase"]),
            cell(row["place"]),
            cell(row["role"]),
            cell(row["seed"]),
            *(_bpb(row[name]) for name in ("val_bpb", "select_bpb", "test_bpb")),
            cell(row["status"]),
            cell(f"{row['train_s']:.1f}"),
        )
    return table


def group_document(group: Group) -> dict[str, Any]:
    """One group of the board as JSON values."""
    return dict(plain(asdict(group)))


def task_mean_line(mean: TaskMean) -> str:
    """One agent over several tasks, for people."""
    tasks = ", ".join(mean.tasks)
    return f"{mean.share_of_tpe:.0%} of TPE: {mean.agent} ({mean.track}, {mean.n_trials} trials; {tasks})"


def print_group(group: Group) -> None:
    """Print a group of the board, best agent first, with the significance of the differences."""
    print(
        f"{group.tier}/{group.track}, {group.n_trials} trials each, corpus {group.corpus_hash[:12]}"
        f" (rules {group.rules})"
    )
    if group.baseline_bpb is not None and group.ngram_bpb is not None:
        defaults = f"defaults {group.baseline_bpb:.3f} bpb on test"
        print(f"{defaults}, an n-gram table on the same corpus {group.ngram_bpb:.3f}")
    table = _table(
        "rank", "agent", "gain bpb", "95% interval", "of TPE", "claimed", "valid", "duplicate", "failed",
        "caught", "tokens/0.01", "tokens/s", "min/0.01", "train s", "at 4x", "false accepts", "studies",
    )  # fmt: skip
    for row in group.rows:
        interval = f"{row.gain_ci_low:.3f} to {row.gain_ci_high:.3f}" if row.gain_ci_low is not None else None
        mark = MARKS[row.interval_over]
        false = None
        if row.false_accept_rate is not None:
            high = row.false_accept_ci_high or 0.0
            false = f"{row.n_false_accepts}/{row.n_placebos} (up to {100 * high:.0f}%)"
        table.add_row(
            cell(row.rank),
            cell(row.agent if row.track == group.track else f"{row.agent} ({row.track})"),
            cell(f"{row.gain_bpb:.4f}"),
            cell(None if interval is None else interval + mark),
            cell(None if row.share_of_tpe is None else f"{100 * row.share_of_tpe:.0f}%"),
            cell(f"{row.claimed_gain_bpb:.4f}"),
            *(cell(f"{100 * v:.0f}%") for v in (row.valid_share, row.duplicate_share, row.failed_share)),
            cell(f"{row.n_caught} !" if row.is_caught else row.n_caught),
            *(_whole(value) for value in (row.tokens_per_unit, row.tokens_per_s)),
            cell(None if row.wall_s_per_unit is None else f"{row.wall_s_per_unit / MINUTE_S:,.1f}"),
            cell(f"{row.train_s:.0f}"),
            _bpb(row.transfer_gain_bpb, sign=True),
            cell(false),
            cell(row.n_studies),
        )
    print_table(table, least=LEAST)
    for note in group_notes(group):
        print(note)
    for each in group.comparisons:
        print(comparison_line(each))


def group_notes(group: Group) -> list[str]:
    """The footnotes of a group: what the marks in its table mean."""
    bases = {row.interval_over for row in group.rows}
    notes = []
    if any(row.is_caught for row in group.rows):
        notes.append(CAUGHT_NOTE)
    notes += [note for basis, note in BASIS_NOTES.items() if basis in bases]
    if n := sum(row.n_public_seeds for row in group.rows):
        notes.append(f"{counted(n, 'study', 'studies')} of an earlier version: {PUBLIC_SEEDS}")
    return notes


def comparison_line(each: AgentComparison) -> str:
    """The difference between two agents and its significance."""
    seeds = f"{each.n_seeds} seed" + "s" * (each.n_seeds != 1)
    sure = "" if each.p_adjusted < 0.05 else ": not significant"
    return (
        f"{one_line(each.better)} over {one_line(each.worse)}: {each.difference_bpb:.4f} bpb over"
        f" {seeds}, p {each.p:.3f}, {each.p_adjusted:.3f} after Holm{sure}"
    )


def _table(*names: str) -> Table:
    table = Table(header_style="bold")
    for name in names:
        table.add_column(name, justify="left" if name in LEFT else "right")
    return table


def _bpb(value: float | None, *, sign: bool = False) -> Any:
    return cell(None if value is None else f"{value:+.4f}" if sign else f"{value:.4f}")


def _whole(value: float | None) -> Any:
    return cell(None if value is None else f"{value:,.0f}")


def _short(text: str, n: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= n else line[: n - 1] + "…"
