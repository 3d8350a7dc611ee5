"""`tracker research improve-program`: a search for better instructions to the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_ENGINE, EngineFlags
from tracker.cli.help import AGENT, JsonDocument
from tracker.cli.research_flags import AgentName, ExecutorName, Tier
from tracker.settings import load_settings


def improve_program(
    *,
    agent: AgentName = "demo",
    proposer: Annotated[str | None, Parameter(group=AGENT)] = None,
    proposals: Annotated[Path | None, Parameter(group=AGENT)] = None,
    tier: Tier = "smoke",
    held_out: tuple[str, ...] = (),
    track: Annotated[str, Parameter(group=AGENT)] = "params",
    trials: int = 10,
    versions: int = 4,
    placebos: int = 1,
    seeds: int = 5,
    engine: EngineFlags = DEFAULT_ENGINE,
    executor: ExecutorName = None,
    resume: str | None = None,
    as_json: JsonDocument = False,
) -> None:
    """Search for better instructions (`program.md`), judged by what the agent gains with them per token.

    Each version is compared with the best so far in pairs of whole studies under the same seeds, and
    confirmed under fresh ones. At the end the best version is compared with the shipped one under unused
    seeds.

    Parameters
    ----------
    proposer
        Model that writes the versions; default: the agent.
    proposals
        JSON list of versions to try, instead of a model that writes them.
    held_out
        Tier or task for the confirmation and the final comparison; repeatable. Default: the same as `--tier`.
    track
        What the agent may change: params, code or hybrid.
    trials
        Number of trials of each study.
    versions
        Number of versions to try.
    placebos
        Extra versions that are the best one itself, to measure how often chance alone is accepted.
    seeds
        Pairs of studies in the final comparison.
    resume
        Id of a search to continue, or the start of it; all other flags are those it was begun with.
    as_json
        Print one JSON document.
    """
    from tracker.cli.research_output import program_document, program_line, program_result, study_key_line
    from tracker.files.programs import SearchLedger
    from tracker.research.programs import (
        SearchProgress,
        SearchRequest,
        SearchStoppedError,
        begin_search,
        resumed_search,
        work_on_search,
    )

    home = load_settings()
    if resume is not None:
        search = resumed_search(resume, home)
    else:
        request = SearchRequest(
            agent=agent,
            proposer=proposer,
            versions_file=proposals,
            tier=tier,
            held_out=held_out,
            track=track,
            n_trials=trials,
            n_versions=versions,
            n_placebos=placebos,
            n_test=seeds,
            engine=engine.settings(),
            executor=executor,
        )
        search = begin_search(request, home)
    print(f"search {search.program_id}", file=sys.stderr)
    progress = SearchProgress(
        on_study=lambda order, study: print(study_key_line(order.key, study), file=sys.stderr),
        on_event=lambda event: None,
        on_version=lambda judged: print(program_line(judged), file=sys.stderr),
    )
    try:
        done = work_on_search(search, home, progress)
    except SearchStoppedError as error:
        error.hint = f"`tracker research improve-program --resume {search.program_id}` continues it"
        raise
    ledger = SearchLedger(home.programs_path / done.program_id)
    if as_json:
        print_json(program_document(done, ledger.verdicts()))
    else:
        print(program_result(done, ledger))
