"""Several suites of one load in one window, so that the tail of one suite's answers is filled by another's.

What is certain to be asked is asked together, before the suites are run one by one; each then finds its
answers, and scores, counts and ends as if it had asked them alone. Where time may run out, suites and tasks
are begun in their order, and those after a task that is asked for itself wait for it. Time and energy of the
window are divided by the tokens that were written for each suite, what was computed of prompts by those that
were read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from runners.hardware import MemoryWatch
from runners.harness.answering import answer
from runners.harness.endings import expected
from runners.harness.lm_tasks import TaskUnavailableError
from runners.harness.task_run import TaskRun
from runners.harness.walk import RunningSuite
from tracker.errors import EngineError
from tracker.wording import agreeing, counted


def ask_suites_together(suites: Sequence[RunningSuite]) -> None:
    """Ask what is certain to be asked of all these suites in one window.

    An error that ends the job is kept with every suite, whose `run_tasks` raises it. What the engine cannot
    do ends the window alone: each suite then asks by itself what is missing.
    """
    runs = _runs(suites)
    if len(runs) < 2:
        return
    engine, tallies = suites[0].engine, [run.suite_run.tally for run in runs]
    before = [(tally.generated_tokens, tally.prompt_tokens) for tally in tallies]
    n_cut, n_prefilled, started = engine.cut_requests, engine.prefilled_tokens, time.monotonic()
    with MemoryWatch() as watch:
        error = _error_of(runs)
    took_s, joules = time.monotonic() - started, watch.energy_j
    n_cut, n_prefilled = engine.cut_requests - n_cut, engine.prefilled_tokens - n_prefilled
    for suite in suites:
        suite.fatal = error
    written = [tally.generated_tokens - n for tally, (n, _) in zip(tallies, before, strict=True)]
    read = [tally.prompt_tokens - n for tally, (_, n) in zip(tallies, before, strict=True)]
    for tally, n_written, n_read in zip(tallies, written, read, strict=True):
        part = n_written / max(sum(written), 1)
        tally.answering_s += took_s * part
        tally.generation_s += took_s * part
        tally.energy_j = None if joules is None else joules * part
        tally.prefilled_tokens = round(n_prefilled * n_read / max(sum(read), 1))
    if n_cut:
        prompts = f"{counted(n_cut, 'prompt')} {agreeing(n_cut, 'was', 'were')} truncated"
        for run in runs:
            run.suite_run.warn(
                f"of {counted(len(runs), 'suite')} asked together, {prompts} on the left to the model's"
                f" {engine.info.max_model_len} tokens"
            )


def _error_of(runs: Sequence[TaskRun]) -> BaseException | None:
    """Ask what is missing; returns the error that ends the job, if any."""
    try:
        _ask(runs)
    except TaskUnavailableError:
        return None
    except BaseException as caught:
        error = expected(caught, "the run failed", "engine_died")
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None if isinstance(error, EngineError) and error.reason == "unsupported" else error
    return None


def _runs(suites: Sequence[RunningSuite]) -> list[TaskRun]:
    """The tasks of each suite that are certain to be asked, of which answers are missing.

    A task that another suite asks as well is left to its turn: it then finds those answers.
    """
    taken: set[str] = set()
    found = []
    for suite in suites:
        works = [work for task in suite.plan_certain(taken=taken) for work in task.works]
        taken |= {work.fingerprint for work in works}
        run = TaskRun(
            suite,
            f"{suite.run.suite.name}, {counted(len(suite.certain), 'task')}",
            {work.leaf.name: work for work in works},
            sum(len(work.questions) for work in works),
        )
        if run.missing([question for work in works for question in work.questions]):
            found.append(run)
        if suite.deadline is not None and not suite.is_wholly_certain:
            break
    return found


def _ask(runs: Sequence[TaskRun]) -> None:
    first = runs[0].suite_run
    owners = {id(work.leaf): run for run in runs for work in run.works.values()}
    sinks = {id(run): run.suite_run.sink() for run in runs}
    questions = [question for run in runs for question in run.missing(run.suite_run.certain_questions())]
    if first.deadline is None:
        questions = first.longest_first(questions)
    for run in runs:
        run.report(force=True, event="task")
    first.note_marks(None)
    answered = answer(first.engine, questions, stop=lambda: first.stopped() or first.out_of_time)
    try:
        with closing(answered):
            for question, item in answered:
                run = owners[id(question.leaf)]
                run.keep(question, item, sinks[id(run)])
    finally:
        for sink in sinks.values():
            sink.flush()
        for run in runs:
            run.suite_run.storage.wait()
        for run in runs:
            run.report(force=True)
