"""`tracker store`: rebuild, publish, check, repair, compact, prune, export or import the store."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.help import command_app
from tracker.foreign_text import one_line
from tracker.settings import Settings, load_settings
from tracker.store import check as check_store
from tracker.store import compact as compact_store
from tracker.store import prune as prune_store
from tracker.store import publish as publish_store
from tracker.store import rebuild as rebuild_store
from tracker.store import repair as repair_store
from tracker.wording import counted

if TYPE_CHECKING:
    from tracker.ingest.replay import RebuiltHistory
    from tracker.store import Rebuilt

EXIT_PROBLEMS = 1
MB = 10**6
FromRawFlag = Annotated[bool, Parameter(name="--from-raw", negative="")]
ApplyFlag = Annotated[bool, Parameter(name="--apply", negative="")]
JsonFlag = Annotated[bool, Parameter(name="--json", negative="")]

app = command_app(
    name="store", help="Rebuild, publish, check, repair, compact, prune, export or import the store."
)


@app.command
def rebuild(*, from_raw: FromRawFlag = False, as_json: JsonFlag = False) -> None:
    """Rebuild the database from the item files, which are the primary data, and publish it.

    Parameters
    ----------
    from_raw
        Also rebuild what was ingested, from the raw answers of the sources, instead of copying it.
    as_json
        Print one JSON document: `n_runs`, `n_studies`, `interrupted`, `skipped`, `ingests_from`, `restored`,
        `lost`, `aside`, `snapshot`, `duration_s`, and with `--from-raw` `history`: `n_ingests`,
        `earlier_from`, `kept_aside`, `problems`.
    """
    settings = load_settings()
    began_s = time.monotonic()
    history = _rebuilt_history(settings) if from_raw else None
    rebuilt = history.rebuilt if history is not None else _rebuilt_from_files(settings)
    snapshot = publish_store(settings)
    duration_s = time.monotonic() - began_s
    for problem in rebuilt.skipped:
        print(f"warning: skipped: {one_line(problem)}", file=sys.stderr)
    for sentence in (*rebuilt.restored, *rebuilt.lost):
        print(f"warning: {one_line(sentence)}", file=sys.stderr)
    if as_json:
        more = (
            {}
            if history is None
            else {"history": {k: v for k, v in asdict(history).items() if k != "rebuilt"}}
        )
        print_json(asdict(rebuilt) | {"snapshot": snapshot, "duration_s": round(duration_s, 3)} | more)
        return
    studies = (
        f", {counted(rebuilt.n_studies, 'study', 'studies')} from {settings.studies_path}"
        if rebuilt.n_studies
        else ""
    )
    took = f", in {duration_s:,.1f} s" if duration_s >= 1 else ""
    print(f"{settings.db_path}: {counted(rebuilt.n_runs, 'run')} from {settings.items_path}{studies}{took}")
    if rebuilt.aside is not None:
        print(f"the old database is kept as {one_line(rebuilt.aside)}")
    for run_id in rebuilt.interrupted:
        print(f"run `{one_line(run_id)}` is now `interrupted`: its process ended without a result")


def _rebuilt_from_files(settings: Settings) -> Rebuilt:
    from tracker.cli.progress import CountProgress, progress_console

    with CountProgress(progress_console(), "runs") as progress:
        return rebuild_store(settings, progress.show)


def _rebuilt_history(settings: Settings) -> RebuiltHistory:
    from tracker.ingest.replay import rebuild_history

    history = rebuild_history(
        settings, on_ingest=lambda ingest_id: print(f"replayed {ingest_id}", file=sys.stderr)
    )
    for problem in history.problems:
        place = f"{problem.source} {problem.ingest_id}" if problem.ingest_id else problem.source
        print(f"warning: {one_line(place)}: {one_line(problem.message)}", file=sys.stderr)
    if history.kept_aside is not None:
        print(f"the replaced database is kept as {history.kept_aside}", file=sys.stderr)
    print(f"{counted(history.n_ingests, 'ingest')} replayed from {settings.raw_path}", file=sys.stderr)
    return history


@app.command
def publish(*, as_json: JsonFlag = False) -> None:
    """Publish a new snapshot, which the app, `tracker query` and other readers use.

    Parameters
    ----------
    as_json
        Print one JSON document: `snapshot`.
    """
    settings = load_settings()
    snapshot = publish_store(settings)
    if as_json:
        print_json({"snapshot": snapshot})
    else:
        print(f"published {snapshot} in {settings.snapshots_path}")


@app.command
def check(*, as_json: JsonFlag = False) -> None:
    """Check for broken, leftover, missing and unpublished data; exit code 1 if any is found.

    Parameters
    ----------
    as_json
        Print one JSON document: `ok` and `problems` with `kind`, `message`, `hint`.
    """
    problems = check_store(load_settings())
    if as_json:
        print_json({"ok": not problems, "problems": [asdict(problem) for problem in problems]})
    elif not problems:
        print("no problems found")
    else:
        for problem in problems:
            print(f"{problem.kind}: {one_line(problem.message)}\n  hint: {one_line(problem.hint)}")
    if problems:
        sys.exit(EXIT_PROBLEMS)


@app.command
def repair(*, as_json: JsonFlag = False) -> None:
    """Repair what `tracker store check` finds; exit code 1 if something remains.

    Nothing that may be the only copy of an answer is deleted: files that are replaced are kept in `aside/`.

    Parameters
    ----------
    as_json
        Print one JSON document: `ok`, `restored`, `missing`, `aside`, `snapshot` and the remaining
        `problems`.
    """
    repaired = repair_store(load_settings())
    if as_json:
        print_json({"ok": not repaired.problems} | asdict(repaired))
    elif repaired.is_idle:
        print("nothing to repair")
    else:
        for name in ("restored", "missing", "aside"):
            for sentence in getattr(repaired, name):
                print(f"{name}: {one_line(sentence)}")
        if repaired.snapshot is not None:
            print(f"published {repaired.snapshot}")
        for problem in repaired.problems:
            print(f"{problem.kind}: {one_line(problem.message)}\n  hint: {one_line(problem.hint)}")
    if repaired.problems:
        sys.exit(EXIT_PROBLEMS)


@app.command
def compact(*, as_json: JsonFlag = False) -> None:
    """Join the small item files of ended runs into few large ones; no item changes, and a bench may run.

    It can be killed at any moment and repeated. Damaged files, and those of newer versions, stay as they are.

    Parameters
    ----------
    as_json
        Print one JSON document: `n_runs`, `n_items`, `n_parts_before`, `n_parts_after`, `bytes_before`,
        `bytes_after`, `left`, `duration_s`.
    """
    from tracker.cli.progress import CountProgress, progress_console

    began_s = time.monotonic()
    with CountProgress(progress_console(), "item files") as progress:
        done = compact_store(load_settings(), lambda step: progress.show(step.n_done, step.n_parts))
    duration_s = time.monotonic() - began_s
    for sentence in done.left:
        print(f"warning: left as they are: {one_line(sentence)}", file=sys.stderr)
    if as_json:
        print_json(asdict(done) | {"duration_s": round(duration_s, 3)})
        return
    if not done.n_runs:
        print(f"nothing to join: {counted(done.n_parts_after, 'item file')} of ended runs")
        return
    before, after = counted(done.n_parts_before, "item file"), f"{done.n_parts_after:,}"
    sizes = f"{done.bytes_before / MB:,.1f} MB to {done.bytes_after / MB:,.1f} MB"
    print(f"{before} joined to {after}, {sizes}, {counted(done.n_runs, 'run')}, in {duration_s:,.1f} s")


@app.command
def prune(*, keep: int, apply: ApplyFlag = False, as_json: JsonFlag = False) -> None:
    """Show which items of older runs can be removed to free the disk, or remove them; scores always stay.

    Items of the newest runs of each model and suite with the same settings stay, and all on which they rest.
    Repeating an old bench asks its removed items again. Nothing is removed while a bench runs.

    Parameters
    ----------
    keep
        Runs of each model and suite that keep their items, the newest ones; at least 1.
    apply
        Remove the items. Without it, they are only listed.
    as_json
        Print one JSON document: `keep`, `n_kept`, `n_items`, `n_bytes`, `is_applied`, `runs` with `run_id`,
        `model_id`, `suite`, `n_items`, `n_parts`, `n_bytes`.
    """
    done = prune_store(load_settings(), keep=keep, is_applied=apply)
    if as_json:
        print_json(asdict(done) | {"n_items": done.n_items, "n_bytes": done.n_bytes})
        return
    for run in done.runs:
        what = f"{counted(run.n_items, 'item')}, {run.n_bytes / MB:,.1f} MB"
        print(f"{one_line(run.run_id)} {one_line(run.model_id)} {one_line(run.suite)}: {what}")
    runs, kept = counted(len(done.runs), "run"), f"{counted(done.n_kept, 'run')} keep their items"
    if not done.runs:
        print(f"nothing to remove: {kept}")
        return
    what = f"{counted(done.n_items, 'item')} of {runs}, {done.n_bytes / MB:,.1f} MB"
    if done.is_applied:
        print(f"removed: {what}; {kept}, and every score stays")
    else:
        print(f"would be removed: {what}; {kept}, and every score stays. `--apply` removes them")


@app.command(name="export")
def export_command(file: Path, /, *, as_json: JsonFlag = False) -> None:
    """Write the whole home to one file, which `tracker store import` reads on any machine.

    Runs and studies that are under way are left out, and said; so are downloaded models.

    Parameters
    ----------
    file
        New file, such as `home.tar.zst`.
    as_json
        Print one JSON document: `path`, `n_files`, `n_bytes`, `archive_bytes`, `left_out`.
    """
    from tracker.store.archive import export_home

    done = export_home(load_settings(), file)
    for text in done.left_out:
        print(f"warning: left out: {one_line(text)}", file=sys.stderr)
    if as_json:
        print_json(asdict(done))
        return
    sizes = f"{done.n_bytes / MB:,.1f} MB, packed {done.archive_bytes / MB:,.1f} MB"
    print(f"{one_line(done.path)}: {counted(done.n_files, 'file')}, {sizes}")


@app.command(name="import")
def import_command(file: Path, /, *, as_json: JsonFlag = False) -> None:
    """Read a file of `tracker store export` into this home, which must be empty, and publish it.

    Parameters
    ----------
    file
        Exported file.
    as_json
        Print one JSON document: `n_files`, `n_bytes`, `rebuilt`, `snapshot`.
    """
    from tracker.store.archive import import_home

    settings = load_settings()
    done = import_home(settings, file)
    for problem in done.rebuilt.skipped:
        print(f"warning: skipped: {one_line(problem)}", file=sys.stderr)
    for sentence in (*done.rebuilt.restored, *done.rebuilt.lost):
        print(f"warning: {one_line(sentence)}", file=sys.stderr)
    if as_json:
        print_json(asdict(done))
        return
    studies = f" and {counted(done.rebuilt.n_studies, 'study', 'studies')}" if done.rebuilt.n_studies else ""
    runs = counted(done.rebuilt.n_runs, "run")
    print(f"{settings.home}: {runs}{studies} from {counted(done.n_files, 'file')}")
