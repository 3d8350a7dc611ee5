"""`tracker research`: a model or an optimizer tunes a small GPT-2; only confirmed gains count."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from runners.research.agents import agent_facts
from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_ENGINE, EngineFlags
from tracker.cli.help import AGENT, JsonDocument, command_app
from tracker.cli.research_flags import (
    RESUMED_WHERE,
    AgentName,
    ExecutorName,
    HarnessCommand,
    HarnessVariables,
    NoTransfer,
    OptimizerName,
    StudySecretText,
    TaskName,
    Tier,
    begun_line,
    task_name,
    tell_end,
)
from tracker.cli.research_programs import improve_program
from tracker.cli.research_serve import serve
from tracker.errors import TrackerError, UnknownNameError, UsageError
from tracker.records.studies import BASELINES
from tracker.settings import Settings, load_settings
from tracker.wording import counted

if TYPE_CHECKING:
    from tracker.records.studies import Study
    from tracker.research.driver import StudyEnd

EXIT_PASSED = 1  # a cheat succeeded

app = command_app(
    name="research", help="Run a model or an optimizer that tunes a small GPT-2; only confirmed gains count."
)


@app.command
def run(
    *,
    agent: AgentName = "demo",
    tier: Tier = "cpu",
    task: TaskName = None,
    track: Annotated[str, Parameter(group=AGENT)] = "params",
    trials: int = 30,
    seed: int = 0,
    wave: Annotated[int, Parameter(group=AGENT)] = 1,
    loop: Annotated[str, Parameter(group=AGENT)] = "once",
    team: Annotated[int, Parameter(group=AGENT)] = 1,
    token_budget: Annotated[int | None, Parameter(group=AGENT)] = None,
    engine: EngineFlags = DEFAULT_ENGINE,
    placebo_share: float = 0.1,
    override_share: Annotated[float | None, Parameter(group=AGENT)] = None,
    optimizer: OptimizerName = None,
    optimiser: Annotated[str | None, Parameter(show=False)] = None,  # until the next release
    proposals: Annotated[Path | None, Parameter(group=AGENT)] = None,
    program: Annotated[Path | None, Parameter(group=AGENT)] = None,
    harness: HarnessCommand = None,
    harness_env: HarnessVariables = (),
    study_secret: StudySecretText = None,
    no_transfer: NoTransfer = False,
    executor: ExecutorName = None,
    no_sandbox: bool = False,
    as_json: JsonDocument = False,
) -> None:
    """Run an agent for N trials, keep only confirmed improvements, measure the gain on held-out text.

    Each proposal is trained for a fixed number of tokens and compared with the best so far under shared
    seeds, then again under fresh seeds. The gain is measured once, at the end, on unused text.

    Parameters
    ----------
    track
        What the agent may change: params (numbers), code (the script), hybrid (numbers, with an optimizer).
    trials
        Number of trials.
    seed
        Seed of the agent. The seeds of the trainings follow from a secret that is drawn for each study.
    wave
        Number of proposals to request at once.
    loop
        How a model works: once (one question and one answer for each trial) or tools (call by call: it reads,
        edits, runs short probes and keeps notes until it submits).
    team
        With `--loop tools`: number of members that prepare a trial each at the same time and share their
        notes and budgets.
    token_budget
        With `--loop tools`: maximum number of tokens of all members together, prompts included.
    placebo_share
        Extra no-op trials, as a fraction of `--trials`, to measure the gate's false-accept rate.
    override_share
        Track hybrid only: maximum fraction of trials the model may override; default: 0.3.
    proposals
        JSON file of proposals for `--agent scripted`.
    program
        Your own instructions to the model instead of the shipped `program.md`; must keep its placeholders
        `$max_cost` and `$max_changes`.
    no_sandbox
        Train without a sandbox. Model-written code then runs with your permissions, and the study is excluded
        from the board.
    as_json
        Print one JSON document.
    """
    from tracker.cli.research_serve import harness_face, harness_name, served
    from tracker.research.begin import StudyRequest, begin_study, given_secret, read_program
    from tracker.research.serve import SERVED

    home = load_settings()
    face = None if harness is None else harness_face(harness, harness_env, home)
    if harness is not None and agent != "demo":
        raise UsageError("`--harness` is the agent: leave `--agent` out", hint="it names its model itself")
    request = StudyRequest(
        agent=agent if harness is None else SERVED,
        name=None if harness is None else harness_name(harness),
        tier=task_name(task, tier, home),
        track=track,
        n_trials=trials,
        seed=seed,
        wave_size=wave,
        loop=loop,
        team=team,
        token_budget=token_budget,
        engine=engine.settings(),
        placebo_share=placebo_share,
        override_share=override_share,
        optimizer=optimizer or optimiser,
        has_sandbox=not no_sandbox,
        proposals=proposals,
        program=None if program is None else read_program(program),
        secret=None if study_secret is None else given_secret(study_secret),
        has_transfer=not no_transfer,
        executor=executor,
    )
    begun = begin_study(request, home)
    end = _work(begun, home) if face is None else served(begun, home, face)
    _finish(end, home, as_json=as_json)


app.command(serve)


@app.command
def resume(
    study: str,
    /,
    *,
    executor: Annotated[str | None, Parameter(help=RESUMED_WHERE)] = None,
    as_json: JsonDocument = False,
) -> None:
    """Resume a study that was paused, interrupted or killed; only trainings that were under way are repeated.

    Parameters
    ----------
    study
        Id of the study, or the start of it.
    as_json
        Print one JSON document.
    """
    from tracker.research.begin import resumed_study
    from tracker.research.serve import check_unserved

    home = load_settings()
    begun = resumed_study(study, home, executor=executor)
    check_unserved(begun)
    _finish(_work(begun, home), home, as_json=as_json)


@app.command
def baseline(
    *,
    tier: Tier = "cpu",
    task: TaskName = None,
    trials: int = 30,
    seed: tuple[int, ...] = (0,),
    agent: tuple[str, ...] = BASELINES,
    placebo_share: float = 0.1,
    study_secret: StudySecretText = None,
    no_transfer: NoTransfer = False,
    executor: ExecutorName = None,
    as_json: JsonDocument = False,
) -> None:
    """Run the baselines that models are compared with, at the same number of trials.

    Complete baselines are reused.

    Parameters
    ----------
    trials
        Number of trials of each study.
    seed
        Seed; repeatable: one study per agent and seed.
    agent
        Agent that needs no model; repeatable.
    placebo_share
        Extra no-op trials, as a fraction of `--trials`, to measure the gate's false-accept rate.
    as_json
        Print one JSON document: `studies`.
    """
    from tracker.cli.research_output import result_line, summary
    from tracker.research.begin import StudyRequest, begin_study, given_secret, known_study

    secret = None if study_secret is None else given_secret(study_secret)
    _check_baselines(agent)
    home, rows = load_settings(), []
    tier = task_name(task, tier, home)
    for each in dict.fromkeys(seed):
        for name in dict.fromkeys(agent):
            request = StudyRequest(
                agent=name,
                tier=tier,
                n_trials=trials,
                seed=each,
                placebo_share=placebo_share,
                secret=secret,
                has_transfer=not no_transfer,
                executor=executor,
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


def _check_baselines(names: Sequence[str]) -> None:
    """Refuse an agent that needs a model or proposals.

    Raises:
        UsageError: names it.
    """
    for name in names:
        facts = agent_facts(name)
        if facts.needs_model or facts.needs_proposals:
            raise UsageError(
                f"agent `{name}` cannot be a baseline: a baseline needs neither a model nor proposals"
            )


app.command(improve_program)


@app.command
def board(*, tier: str | None = None, track: str | None = None, as_json: JsonDocument = False) -> None:
    """Rank agents by confirmed gain against random search and TPE under equal conditions.

    Parameters
    ----------
    tier
        Only this tier.
    track
        Only this track.
    as_json
        Print one JSON document: `groups` and `over_tasks`.
    """
    from dataclasses import asdict

    from tracker.answers.agent_board import StudyRow, over_tasks
    from tracker.answers.agent_board import board as make_board
    from tracker.cli.research_output import group_document, print_group, task_mean_line
    from tracker.store import open_snapshot

    with open_snapshot(load_settings()) as snapshot:
        rows = [StudyRow(**row) for row in snapshot.query("research_board", tier=tier)]
    # an agent's baselines are of another track, so groups are filtered last
    groups = [group for group in make_board(rows) if track in (None, group.track)]
    if as_json:
        means = [asdict(mean) for mean in over_tasks(groups)]
        print_json({"groups": [group_document(group) for group in groups], "over_tasks": means})
    elif not groups:
        print("no study is complete yet; run `tracker research run --agent demo --trials 10`")
    for group in () if as_json else groups:
        print_group(group)
    for mean in () if as_json else over_tasks(groups):
        print(task_mean_line(mean))


@app.command
def show(study: str | None = None, /, *, pairs: bool = False, as_json: JsonDocument = False) -> None:
    """Show a study with the changes and verdicts of its trials; without STUDY, list all studies.

    Parameters
    ----------
    study
        Id of the study, or the start of it.
    pairs
        Also show the trainings behind each verdict.
    as_json
        Print one JSON document: the study with its `trials`, or `studies`.
    """
    from tracker.cli.research_output import print_study, study_document, summary
    from tracker.files.studies import open_ledger
    from tracker.store import open_snapshot

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
def stop(study: str, /, *, as_json: JsonDocument = False) -> None:
    """Stop a running study, whichever process runs it; `tracker research resume` continues it.

    Parameters
    ----------
    study
        Id of the study, or the start of it.
    as_json
        Print one JSON document: `study`.
    """
    from tracker.research.begin import stop_study

    stopped = stop_study(study, load_settings())
    if as_json:
        print_json({"study": stopped.study_id})
    else:
        print(f"study {stopped.study_id}: stopping…")


@app.command
def attack(
    *,
    name: tuple[str, ...] = (),
    tier: Tier = "smoke",
    near_limits: bool = False,
    as_json: JsonDocument = False,
) -> None:
    """Run scripted cheats against the real sandbox and evaluator; exit code 1 if any succeeds.

    The outcomes are stored: `tracker query "select * from attacks"`.

    Parameters
    ----------
    name
        Only this cheat; repeatable.
    near_limits
        Instead of the suite, run attacks made by rule around each limit: above it they must be refused, below
        it their gain is printed. They are not stored.
    as_json
        Print one JSON document: `attacks` and `n_passed`.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from runners.research.attacks.near_limits import near_limits as attacks_near_limits
    from runners.research.attacks.run import AttackOutcome, attack_names, run_attacks, run_near_limits
    from runners.research.problem.tiers import tier as tier_of
    from runners.sandbox.run import find
    from tracker.bench.run import check_home
    from tracker.records.studies import Attack
    from tracker.research.begin import keep_attacks

    size = tier_of(tier)
    known = [each.name for each in attacks_near_limits(size)] if near_limits else attack_names()
    for each in name:
        if each not in known:
            raise UnknownNameError("attack", each, known=known)
    home = load_settings()
    check_home(home)

    def tell(outcome: AttackOutcome) -> None:
        print(
            f"{outcome.outcome:<7} {outcome.name}: {outcome.how}", file=sys.stderr if as_json else sys.stdout
        )

    started_at = datetime.now(UTC)
    run_all = run_near_limits if near_limits else run_attacks
    outcomes = run_all(home.home, find(), size, names=name, on_outcome=tell)
    if not near_limits:
        found = [Attack(each.name, each.outcome, each.how) for each in outcomes]
        keep_attacks(found, started_at=started_at, tier=tier, settings=home)
    n_passed = sum(outcome.outcome == "passed" for outcome in outcomes)
    if as_json:
        print_json({"attacks": [asdict(outcome) for outcome in outcomes], "n_passed": n_passed})
    else:
        print(f"{n_passed} of {counted(len(outcomes), 'attack')} succeeded")
    if n_passed:
        sys.exit(EXIT_PASSED)


@app.command
def corpus(
    name: str,
    /,
    *,
    source: Annotated[tuple[Path, ...], Parameter(name="--from", negative="")] = (),
    season: str = "",
    train_mb: float = 2.0,
    vocab_size: int = 1024,
    as_json: JsonDocument = False,
) -> None:
    """Show a corpus with its splits and the line of an n-gram table, or make one of your own text.

    A task uses it by its name. Documents are held out by a secret of this home; those that share much with
    the training text are dropped.

    Parameters
    ----------
    name
        Name of the corpus.
    source
        File or folder of text to make it from: .txt, .md, .rst, .jsonl or .parquet with `text`; repeatable.
    season
        Added to the name: fresh text gets another season, since studies depend on the text of a name.
    train_mb
        Training text in MB; each held-out split gets up to a fifth of it.
    vocab_size
        Byte-pair tokens.
    as_json
        Print one JSON document: the corpus.
    """
    from dataclasses import asdict

    from tracker.bench.run import check_home
    from tracker.cli.research_output import corpus_lines
    from tracker.research.corpus_report import corpus_report, make_corpus

    home = load_settings()
    check_home(home)
    whole = f"{name}-{season}" if season else name
    if source:
        report = make_corpus(
            whole, source, home=home.home, train_bytes=int(train_mb * 1e6), vocab_size=vocab_size
        )
    else:
        report = corpus_report(whole, home.home)
    if as_json:
        print_json(asdict(report))
    for line in () if as_json else corpus_lines(report):
        print(line)


@app.command
def judge(
    script: Path,
    /,
    *,
    tier: Tier = "smoke",
    seeds: str = "7,8",
    as_json: JsonDocument = False,
) -> None:
    """Train and check one script as a trial on the track `code` would, without a study.

    Shows what an agent's study would not: the verdict under each seed with its reason, and the scores on
    `select`. Gains are bits per byte that the script saves over the shipped one under the same seed. Needs
    bubblewrap.

    Parameters
    ----------
    script
        A whole training script, or code that is added to the end of the shipped one's editable part.
    seeds
        Seeds to train under, separated by commas; some checks compare two of them.
    as_json
        Print one JSON document: `script`, `tier` and `seeds`.
    """
    from runners.research.judgement import judge_script, read_script
    from runners.research.problem.tiers import tier as tier_of
    from runners.sandbox.run import for_study
    from tracker.bench.run import check_home
    from tracker.cli.research_output import judgement_document, judgement_line

    home = load_settings()
    chosen, size = _seeds(seeds), tier_of(tier, home.home)
    text = read_script(script, size)
    check_home(home)
    found = judge_script(
        text,
        chosen,
        size,
        home=home.home,
        sandbox=for_study("", runs_code=True),
        on_judgement=lambda one: print(judgement_line(one), file=sys.stderr if as_json else sys.stdout),
    )
    if as_json:
        print_json(judgement_document(script.name, tier, found))


def _seeds(text: str) -> list[int]:
    """The seeds in `7,8`.

    Raises:
        UsageError: it is no list of numbers from 0 to 2³¹ - 1.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) < 2**31 for word in words):
        raise UsageError(f"`--seeds {text}` is no list of whole numbers", hint="for example `--seeds 7,8`")
    return [int(word) for word in dict.fromkeys(words)]


def _work(study: Study, home: Settings) -> StudyEnd:
    """Run the study and show its progress on standard error."""
    from tracker.cli.progress import progress_console
    from tracker.cli.research_progress import StudyProgress
    from tracker.research.driver import run_study

    print(begun_line(study), file=sys.stderr)
    with StudyProgress(progress_console(), n_total=study.n_trials) as progress:
        return run_study(study, home, progress.show)


def _finish(end: StudyEnd, home: Settings, *, as_json: bool) -> None:
    """Print the study on stdout and any error on stderr; exit with its code."""
    from tracker.cli.research_output import print_study, study_document
    from tracker.store import open_snapshot

    row = _row(end.study.study_id, home)
    if as_json:
        print_json(study_document(row))
    else:
        with open_snapshot(home) as snapshot:
            print_study(row, snapshot.query("trials", study_id=end.study.study_id), [])
    tell_end(end)


def _row(study_id: str, home: Settings) -> dict[str, Any]:
    from tracker.store import open_snapshot

    with open_snapshot(home) as snapshot:
        rows = snapshot.query("studies", study_id=study_id)
    if not rows:
        hint = "`tracker store rebuild` adds it from its files"
        raise TrackerError(f"study `{study_id}` is not in the store yet", hint=hint)
    return rows[0]


def _plain(rows: list[dict[str, Any]]) -> Any:
    from tracker.cli.tables import plain

    return plain(rows)
