"""`tracker research`: a model, or an optimiser, tunes a small GPT-2, and its score cannot be faked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from tracker.cli import print_json
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings, load_settings

if TYPE_CHECKING:
    from tracker.studies import Study
    from tracker.study_driver import StudyEnd

JsonFlag = Annotated[bool, Parameter(name="--json", negative="")]
Flag = Annotated[bool, Parameter(negative="")]
EXIT_PASSED = 1  # a cheat got through
BASELINES = ("random", "tpe")
EXIT_HINTS = {
    1: "what is finished is kept; `tracker research resume {study}` goes on; the worker's log: {log}",
    3: "what is finished is kept; the worker's log: {log}",
    4: "what is finished is kept; `tracker research resume {study}` goes on when it is reachable again",
    130: "`tracker research resume {study}` goes on",
}

app = App(name="research", help="Let a model tune a small GPT-2; confirmed gains only.")


@app.command
def run(
    *,
    agent: str = "demo",
    tier: str = "cpu",
    track: str = "params",
    trials: int = 30,
    seed: int = 0,
    wave: int = 1,
    engine: str = "auto",
    base_url: str | None = None,
    dtype: str = "auto",
    max_model_len: int | None = None,
    thinking: bool | None = None,
    placebo_share: float = 0.1,
    override_share: float | None = None,
    optimiser: str | None = None,
    proposals: Path | None = None,
    no_sandbox: Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Give an agent so many trials; keep what is really better; say what it is worth on unseen text.

    Each proposal is trained for a fixed number of tokens and compared with the best so far under shared
    seeds, then again under fresh ones. The gain is measured once, at the end, on text that nobody has seen.

    Parameters
    ----------
    agent
        `demo`, a Hub id, a local folder, a served name with `--base-url`; or random, tpe, cma, scripted.
    tier
        How large a training is: smoke, cpu, gpu-small or gpu.
    track
        What may be changed: params (numbers), code (the script), hybrid (numbers, beside an optimiser).
    trials
        How many proposals the agent has.
    seed
        Of the agent's choices and of every training.
    wave
        How many proposals are asked for at once.
    engine
        For a model: auto, vllm, transformers or server.
    base_url
        An OpenAI-compatible address, such as http://127.0.0.1:8000/v1.
    dtype
        Of the agent's model: auto, float32, bfloat16 or float16.
    max_model_len
        Longest context of the agent's model in tokens.
    thinking
        Switch the model's thinking on or off; default: as its chat template does.
    placebo_share
        Trials without a change, on top of the agent's, which measure how often the gate is fooled.
    override_share
        On the track hybrid: at most this share of the trials is the model's; default 0.3.
    optimiser
        On the track hybrid: whose the other trials are, tpe or cma; default tpe.
    proposals
        For `--agent scripted`: a JSON file of proposals.
    no_sandbox
        Train without a sandbox: code that a model wrote can then do what you can, and stays off the board.
    as_json
        Print one JSON document.
    """
    from tracker.cli.bench import engine_name, flags_named
    from tracker.records import EngineSettings
    from tracker.research import StudyRequest, begin_study

    with flags_named():
        settings = EngineSettings(
            engine=engine_name(engine, base_url),
            base_url=base_url,
            dtype=dtype,
            max_model_len=max_model_len,
            thinking=thinking,
        )
    request = StudyRequest(
        agent=agent,
        tier=tier,
        track=track,
        n_trials=trials,
        seed=seed,
        wave_size=wave,
        engine=settings,
        placebo_share=placebo_share,
        override_share=override_share,
        optimiser=optimiser,
        has_sandbox=not no_sandbox,
        proposals=proposals,
    )
    home = load_settings()
    _finish(_work(begin_study(request, home), home), home, as_json=as_json)


@app.command
def resume(study: str, /, *, as_json: JsonFlag = False) -> None:
    """Go on with a study that was paused, interrupted or killed; at most one training is repeated.

    Parameters
    ----------
    study
        Its id, or the start of it.
    as_json
        Print one JSON document.
    """
    from tracker.research import resumed_study

    home = load_settings()
    _finish(_work(resumed_study(study, home), home), home, as_json=as_json)


@app.command
def baseline(
    *,
    tier: str = "cpu",
    trials: int = 30,
    seed: Annotated[tuple[int, ...], Parameter(negative="")] = (0,),
    agent: Annotated[tuple[str, ...], Parameter(negative="")] = BASELINES,
    placebo_share: float = 0.1,
    as_json: JsonFlag = False,
) -> None:
    """Run the optimisers that a model is compared with, at the same number of trials; what is done is kept.

    Parameters
    ----------
    tier
        How large a training is.
    trials
        How many proposals each has.
    seed
        May be given several times: one study of each agent under each seed.
    agent
        May be given several times: random, tpe or cma. Default: random and tpe.
    placebo_share
        As of `tracker research run`.
    as_json
        Print one JSON document: `studies`.
    """
    from runners.research.agents import NUMBERS_ONLY
    from tracker.cli.research_output import result_line, summary
    from tracker.research import StudyRequest, begin_study, known_study

    for name in agent:
        if name not in NUMBERS_ONLY:
            raise UnknownNameError("optimiser", name, known=NUMBERS_ONLY)
    home, rows = load_settings(), []
    for each in dict.fromkeys(seed):
        for name in dict.fromkeys(agent):
            request = StudyRequest(
                agent=name, tier=tier, n_trials=trials, seed=each, placebo_share=placebo_share
            )
            known = known_study(request, home)
            if known is None:
                end = _work(begin_study(request, home), home)
                if end.exit_code:
                    _finish(end, home, as_json=as_json)
                known = end.study
            rows.append(_row(known.study_id, home))
            print(f"{summary(rows[-1])} · {result_line(rows[-1])}", file=sys.stderr)
    if as_json:
        from tracker.cli.research_output import study_document

        print_json({"studies": [study_document(row) for row in rows]})


@app.command
def board(*, tier: str | None = None, track: str | None = None, as_json: JsonFlag = False) -> None:
    """Agents by confirmed gain, where everything else is equal, beside random search and TPE.

    Parameters
    ----------
    tier
        Only this one.
    track
        Only this one.
    as_json
        Print one JSON document: `groups`.
    """
    from tracker.cli.research_output import group_document, print_group
    from tracker.research_board import StudyRow
    from tracker.research_board import board as make_board
    from tracker.store import open_snapshot

    with open_snapshot(load_settings()) as snapshot:
        rows = [StudyRow(**row) for row in snapshot.query("research_board", tier=tier)]
    # the baselines beside the agents of one track are of another: the groups are chosen at the end
    groups = [group for group in make_board(rows) if track in (None, group.track)]
    if as_json:
        print_json({"groups": [group_document(group) for group in groups]})
    elif not groups:
        print("no study is complete yet: `tracker research run --agent demo --trials 10`")
    for group in () if as_json else groups:
        print_group(group)


@app.command
def show(study: str | None = None, /, *, pairs: Flag = False, as_json: JsonFlag = False) -> None:
    """All trials of a study with what they changed and their verdicts; without one, the list of studies.

    Parameters
    ----------
    study
        Its id, or the start of it.
    pairs
        Also every training behind a verdict.
    as_json
        Print one JSON document: the study with its `trials`, or `studies`.
    """
    from tracker.cli.research_output import print_study, study_document, summary
    from tracker.store import open_snapshot
    from tracker.study_files import open_ledger

    home = load_settings()
    if study is None:
        with open_snapshot(home) as snapshot:
            rows = snapshot.query("studies")
        if as_json:
            print_json({"studies": [study_document(row) for row in rows]})
        for row in () if as_json else rows:
            print(f"{row['study_id']}  {summary(row)}")
        return
    study_id = open_ledger(home, study).folder.name
    row = _row(study_id, home)
    with open_snapshot(home) as snapshot:
        trials = snapshot.query("trials", study_id=study_id)
        trainings = snapshot.query("trial_trainings", study_id=study_id) if pairs else []
    if as_json:
        print_json(study_document(row, trials) | ({"trainings": _plain(trainings)} if pairs else {}))
    else:
        print_study(row, trials, trainings)


@app.command
def stop(study: str, /, *, as_json: JsonFlag = False) -> None:
    """End a study that is running, whoever runs it; `resume` goes on later.

    Parameters
    ----------
    study
        Its id, or the start of it.
    as_json
        Print one JSON document: `study`.
    """
    from tracker.research import stop_study

    stopped = stop_study(study, load_settings())
    if as_json:
        print_json({"study": stopped.study_id})
    else:
        print(f"study {stopped.study_id}: is told to stop")


@app.command
def attack(
    *,
    name: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    tier: str = "smoke",
    as_json: JsonFlag = False,
) -> None:
    """Let scripted cheats loose on the real sandbox and evaluator; exit code 1 if any gets through.

    What became of each is kept: `tracker query "select * from attacks"`.

    Parameters
    ----------
    name
        Only this cheat; may be given several times.
    tier
        How large a training is.
    as_json
        Print one JSON document: `attacks` and `n_passed`.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from runners.research.attacks import AttackOutcome, attack_names, run_attacks
    from runners.research.sandbox import find
    from runners.research.tiers import tier as tier_of
    from tracker.bench import check_home
    from tracker.research import keep_attacks
    from tracker.studies import Attack

    for each in name:
        if each not in attack_names():
            raise UnknownNameError("attack", each, known=attack_names())
    home = load_settings()
    check_home(home)

    def tell(outcome: AttackOutcome) -> None:
        print(
            f"{outcome.outcome:<7} {outcome.name}: {outcome.how}", file=sys.stderr if as_json else sys.stdout
        )

    started_at = datetime.now(UTC)
    outcomes = run_attacks(home.home, find(), tier_of(tier), names=name, on_outcome=tell)
    found = [Attack(each.name, each.outcome, each.how) for each in outcomes]
    keep_attacks(found, started_at=started_at, tier=tier, settings=home)
    n_passed = sum(outcome.outcome == "passed" for outcome in outcomes)
    if as_json:
        print_json({"attacks": [asdict(outcome) for outcome in outcomes], "n_passed": n_passed})
    else:
        print(f"{n_passed} of {len(outcomes)} attacks passed")
    if n_passed:
        sys.exit(EXIT_PASSED)


def _work(study: Study, home: Settings) -> StudyEnd:
    """Follow the study on standard error."""
    from rich.console import Console

    from tracker.cli.research_progress import StudyProgress
    from tracker.study_driver import run_study

    print(f"study {study.study_id}", file=sys.stderr)
    with StudyProgress(Console(stderr=True), n_total=study.n_trials) as progress:
        return run_study(study, home, progress.show)


def _finish(end: StudyEnd, home: Settings, *, as_json: bool) -> None:
    """Print the study on stdout, on stderr what went wrong, and end with its exit code."""
    from tracker.cli.research_output import print_study, study_document
    from tracker.store import open_snapshot

    study = end.study
    row = _row(study.study_id, home)
    if as_json:
        print_json(study_document(row))
    else:
        with open_snapshot(home) as snapshot:
            print_study(row, snapshot.query("trials", study_id=study.study_id), [])
    if end.exit_code:
        print(
            f"error: study {study.study_id}: {study.status}: {study.detail or study.reason}", file=sys.stderr
        )
        hint = EXIT_HINTS.get(end.exit_code, EXIT_HINTS[1]).format(study=study.study_id, log=end.log_path)
        print(f"\nhint: {hint}", file=sys.stderr)
        sys.exit(end.exit_code)


def _row(study_id: str, home: Settings) -> dict[str, Any]:
    from tracker.store import open_snapshot

    with open_snapshot(home) as snapshot:
        rows = snapshot.query("studies", study_id=study_id)
    if not rows:
        hint = "`tracker store rebuild` stores what lies in the files"
        raise TrackerError(f"study `{study_id}` is not in the store yet", hint=hint)
    return rows[0]


def _plain(rows: list[dict[str, Any]]) -> Any:
    from tracker.cli.tables import plain

    return plain(rows)
