"""Export a home to one file, and import that file into an empty home elsewhere.

The archive is a tar file, compressed with zstd: a manifest, the files below their names in the home, and a
list of their hashes at the end, without which the archive is incomplete. Snapshots, locks, logs of workers,
models and what is under way are not in it: the import rebuilds the database from the imported files.

An import trusts nothing in the archive: only regular files below known folders are accepted, never more than
the manifest announces and the disk has room for, and the home appears when everything was checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tracker.errors import StoreError, TrackerError
from tracker.records import RunStatus
from tracker.records.studies import StudyStatus
from tracker.serialization import DiskFormat, dump_versioned, load_versioned
from tracker.settings import Settings
from tracker.store.alive import is_alive
from tracker.store.aside import ASIDE
from tracker.store.compaction import item_files_lock
from tracker.store.database import REPAIR_HINT, damaged_tables, open_database, store_errors
from tracker.store.file_copies import copy_file
from tracker.store.kept_rows import forget_rows
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.reconstruction import Rebuilt, rebuild_database, restore_lost_database, retold, run_files
from tracker.store.snapshot_files import SUFFIX, preferred_paths
from tracker.store.snapshots import publish
from tracker.store.study_repair import read_studies, study_lives

_log = logging.getLogger(__name__)
FORMAT = DiskFormat()
MANIFEST, CONTENTS = "manifest.json", "contents.jsonl"
FOLDERS = (
    "raw",
    "items",
    "ladders",
    "speeds",
    "studies",
    "attacks",
    "programs",
    "suites",
    "digests",
    "frontier",
)
DATABASE = "tracker.duckdb"
PASSING = (
    "locks",
    "frontier",
    "cache",
    f"{DATABASE}.lock",
    f"{DATABASE}.pid",
)  # no loss in an otherwise empty home
UNFINISHED = ".import-"  # how the folder of an unfinished import is called
MAX_MANIFEST_BYTES = 64 * 1024
MAX_HEADER_BYTES = 64 * 1024  # of a long name
MAX_LINE_BYTES = 8 * 1024  # of the list of hashes, per file
HEADERS_BYTES = 4 * 512  # of tar, per file, with its long name and padding
SLACK_BYTES = 1024 * 1024
ROOM = 1.1  # free disk space over the announced size
CHUNK_BYTES = 1024 * 1024
DAMAGED_HINT = "export it again, or use another copy; nothing was imported"


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """The first entry of an archive."""

    created_at: datetime
    n_files: int
    n_bytes: int  # unpacked


@dataclass(frozen=True, slots=True)
class Exported:
    """A written archive."""

    path: str
    n_files: int
    n_bytes: int  # unpacked
    archive_bytes: int
    left_out: tuple[str, ...]  # what is under way or unreadable, in sentences


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported archive."""

    n_files: int
    n_bytes: int
    rebuilt: Rebuilt
    snapshot: str


@dataclass(slots=True)
class _Plan:
    """The files to export by their names in the archive."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def export_home(settings: Settings, target: Path, *, wait_s: float = WAIT_S) -> Exported:
    """Write everything that cannot be computed again to one file, atomically.

    Runs and studies that are under way are left out, and said.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        StoreError: the file exists, the home has nothing, or the disk is full or failing.
    """
    target = target.absolute()
    if target.exists() or not target.parent.is_dir():
        why = "already exists" if target.exists() else "is in a folder that does not exist"
        raise StoreError(f"`{target}` {why}", hint="name a new file in an existing folder")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    _remove_unfinished(target.parent, f".{target.name}.", ends=(".tmp", SUFFIX))
    with (
        store_errors(target),
        _unchanging_items(settings),
        _copied_database(settings, target, wait_s=wait_s) as plan,
    ):
        _collect(settings, plan)
        if not plan.files:
            raise StoreError(f"`{settings.home}` holds nothing to export", hint="set TRACKER_HOME to a home")
        try:
            n_files, n_bytes = _write(temporary, plan)
            os.link(temporary, target)  # fails, instead of replacing, if the file has appeared meanwhile
        finally:
            temporary.unlink(missing_ok=True)
    return Exported(str(target), n_files, n_bytes, target.stat().st_size, tuple(plan.left_out))


def _unchanging_items(settings: Settings) -> AbstractContextManager[None]:
    """Keep parts from being joined or removed between their listing and their reading."""
    if not settings.home.is_dir():
        return nullcontext()
    return item_files_lock(settings, what="store export")


def _remove_unfinished(folder: Path, start: str, *, ends: tuple[str, ...] = ("",)) -> None:
    """Delete what a killed export or import left: eight digits between `start` and one of `ends`."""
    for path in folder.iterdir():
        middle = path.name[len(start) : len(start) + 8]
        is_ours = set(middle) <= set("0123456789abcdef") and path.name[len(start) + 8 :] in ends
        if path.name.startswith(start) and len(middle) == 8 and is_ours:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


@contextmanager
def _copied_database(settings: Settings, target: Path, *, wait_s: float) -> Iterator[_Plan]:
    """A plan with a consistent copy of the database; of a snapshot where the database cannot be read."""
    plan = _Plan()
    copy = target.with_name(f".{target.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        if settings.home.is_dir():
            with write_lock(settings.db_path, wait_s=wait_s):
                restore_lost_database(settings)
        if settings.db_path.is_file():
            with write_lock(settings.db_path, wait_s=wait_s):
                try:
                    open_database(settings.db_path, wait_s=wait_s).close()  # writes its log into it
                    source = settings.db_path
                except StoreError as error:
                    paths = preferred_paths(settings.snapshots_path)
                    newest = next((path for path in paths if not damaged_tables(path)), None)
                    if newest is None:
                        raise
                    plan.left_out.append(f"{error}; the snapshot `{newest}` is exported instead")
                    source = newest
                copy_file(source, copy)
            if damaged := damaged_tables(copy):
                tables = ", ".join(f"`{name}`" for name in sorted(damaged))
                raise StoreError(f"`{settings.db_path}` is damaged: cannot read {tables}", hint=REPAIR_HINT)
            plan.files[DATABASE] = copy
        yield plan
    finally:
        copy.unlink(missing_ok=True)


def _collect(settings: Settings, plan: _Plan) -> None:
    """Add the files of the home, logs before the answers that they name."""
    run_ids, study_ids = _running(settings), _studying(settings)
    if DATABASE in plan.files and (run_ids or study_ids):
        forget_rows(plan.files[DATABASE], run_ids=run_ids, study_ids=study_ids)
    busy = {f"items/{run_id}" for run_id in run_ids} | {f"studies/{study_id}" for study_id in study_ids}
    plan.left_out += [f"`{settings.home / name}` is under way" for name in sorted(busy)]
    for folder in FOLDERS:
        found = sorted(_walk(settings.home / folder), key=lambda path: (path.suffix != ".jsonl", path))
        for path in found:
            name = path.relative_to(settings.home).as_posix()
            if "/".join(name.split("/")[:2]) in busy:
                continue
            if path.is_symlink() or not path.is_file():
                plan.left_out.append(f"`{path}` is not a regular file")
                continue
            plan.files[name] = path


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        for name in [*names, *(one for one in folders if (Path(root) / one).is_symlink())]:
            if not name.startswith(".") and not name.endswith(".tmp"):
                yield Path(root) / name


def _running(settings: Settings) -> set[str]:
    runs = [file.run for file in run_files(settings.items_path) if file.run is not None]
    return {run.run_id for run in runs if run.status is RunStatus.RUNNING and is_alive(run)}


def _studying(settings: Settings) -> set[str]:
    found = [folder.study for folder in read_studies(settings.studies_path) if folder.study is not None]
    return {study.study_id for study in found if study.status is StudyStatus.RUNNING and study_lives(study)}


def _write(temporary: Path, plan: _Plan) -> tuple[int, int]:
    sizes = {}
    for name, path in list(plan.files.items()):
        try:
            sizes[name] = path.stat().st_size
        except FileNotFoundError:  # deleted meanwhile
            del plan.files[name]
    n_bytes = sum(sizes.values())
    created_at = datetime.now(UTC)
    manifest = ArchiveManifest(created_at, len(sizes), n_bytes)
    lines = []
    with (
        pa.output_stream(str(temporary), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        content = dump_versioned(manifest, FORMAT)
        _add(archive, MANIFEST, io.BytesIO(content), len(content))
        for name, path in plan.files.items():
            with path.open("rb") as source:
                reader = _Hashing(source)
                _add(archive, name, reader, sizes[name])
            lines.append(json.dumps({"name": name, "sha256": reader.sha256.hexdigest()}))
        listed = "\n".join(lines).encode()
        _add(archive, CONTENTS, io.BytesIO(listed), len(listed))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    return len(sizes), n_bytes


def _add(archive: tarfile.TarFile, name: str, content: Any, n_bytes: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = n_bytes
    archive.addfile(entry, content)


class _Hashing:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.sha256.update(block)
        return block


def import_home(settings: Settings, source: Path) -> Imported:
    """Unpack an archive into this home, which must be empty, rebuild its database and publish it.

    The home appears when everything was checked; a kill leaves a hidden folder beside it.

    Raises:
        NewerFormatError: a newer version wrote the archive.
        StoreError: the home is not empty, the archive is damaged or no archive of this program, or there is
            no room; nothing was imported.
    """
    home = settings.home
    if not is_empty_home(home):
        hint = "set TRACKER_HOME to a new folder; an import never changes an existing home"
        raise StoreError(f"`{home}` is not empty", hint=hint)
    with store_errors(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(home.parent, f".{home.name}{UNFINISHED}")
        if home.is_dir():
            _remove_unfinished(home, UNFINISHED)
        folder = _new_folder(home)
        try:
            n_files, n_bytes = _unpack(source, folder)
            there = settings.model_copy(update={"home": folder})
            with write_lock(there.db_path, wait_s=WAIT_S):
                rebuilt = rebuild_database(there, keeps_rows=True)
            if not rebuilt.lost:
                shutil.rmtree(folder / ASIDE, ignore_errors=True)  # the archive itself is the copy
            snapshot = publish(there)
            if not is_empty_home(home):
                raise StoreError(f"`{home}` is not empty any more", hint="repeat the command with a new home")
            _move(folder, home)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Imported(n_files, n_bytes, retold(rebuilt, built_in=folder, home=home), snapshot)


def is_empty_home(home: Path) -> bool:
    """Whether the folder is missing, or holds nothing but what commands that only read leave there."""
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        return False
    own = [
        path for path in home.glob("*") if path.name not in PASSING and not path.name.startswith(UNFINISHED)
    ]
    return not any(one.is_symlink() or not one.is_dir() for path in own for one in (path, *path.rglob("*")))


def _new_folder(home: Path) -> Path:
    """A hidden folder beside the home; in it, where the home is a volume of its own."""
    name = secrets.token_hex(4)
    beside = home.with_name(f".{home.name}{UNFINISHED}{name}")
    if not os.path.ismount(home):
        with suppress(PermissionError):
            beside.mkdir()
            return beside
    within = home / f"{UNFINISHED}{name}"
    within.mkdir()
    return within


def _move(folder: Path, home: Path) -> None:
    """Make the folder the home: at once where it is beside it, else the database at the end."""
    if folder.parent != home:
        before = folder.with_name(f"{folder.name}.before")
        if home.exists():
            shutil.copymode(home, folder)
            home.replace(before)
        folder.replace(home)
        if before.exists() and is_empty_home(before):
            shutil.rmtree(before)
        elif before.exists():  # something was written into it in this moment
            _log.warning("`%s` was replaced; what was in it is in `%s`", home, before)
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == DATABASE):
        target = home / path.name
        if target.is_dir():
            shutil.rmtree(target)  # empty, or locks
        path.replace(target)


def _unpack(source: Path, folder: Path) -> tuple[int, int]:
    """Unpack into an empty folder, and check everything; nothing is written outside it."""
    try:
        with source.open("rb") as file:
            stream = _Limited(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedInfo) as archive:  # type: ignore[call-overload]
                return _entries(archive, stream, folder, source)
    except FileNotFoundError as error:
        raise StoreError(
            f"`{source}` does not exist", hint="name a file of `tracker store export`"
        ) from error
    except (tarfile.TarError, pa.ArrowException, EOFError, ValueError, UnicodeError) as error:
        raise _damaged(source, "it is damaged, cut off, or no export of tracker") from error
    except (IsADirectoryError, PermissionError) as error:
        raise StoreError(f"`{source}` cannot be read: {error.strerror}", hint="name a file") from error
    except OSError as error:
        if error.errno is None:  # how a decompressor reports damage
            raise _damaged(source, "it is damaged, cut off, or no export of tracker") from error
        raise


def _entries(archive: tarfile.TarFile, stream: _Limited, folder: Path, source: Path) -> tuple[int, int]:
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST_BYTES:
        raise _damaged(source, "it is no export of tracker")
    manifest = load_versioned(ArchiveManifest, _read(archive, first), FORMAT, where=f"`{source}`")
    n_contents = manifest.n_files * MAX_LINE_BYTES
    if manifest.n_files < 0 or manifest.n_bytes < 0:
        raise _damaged(source, "its manifest is damaged")
    free = shutil.disk_usage(folder).free
    if manifest.n_bytes * ROOM > free or n_contents > free:
        message = f"`{source}` needs {manifest.n_bytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free"
        raise StoreError(message, hint="free some disk space; nothing was imported")
    headers = (manifest.n_files + 2) * (HEADERS_BYTES + MAX_LINE_BYTES)
    stream.limit = manifest.n_bytes + headers + SLACK_BYTES
    hashes: dict[str, str] = {}
    n_bytes = 0
    while (entry := archive.next()) is not None:
        if entry.name == CONTENTS:
            if entry.size > n_contents:
                raise _damaged(source, "its list of files is too long")
            _check_contents(_read(archive, entry), hashes, source)
            if (len(hashes), n_bytes) != (manifest.n_files, manifest.n_bytes):
                raise _damaged(source, f"{len(hashes):,} of {manifest.n_files:,} files are in it")
            return len(hashes), n_bytes
        n_bytes += entry.size
        if len(hashes) >= manifest.n_files or n_bytes > manifest.n_bytes:
            raise _damaged(source, "it holds more than it announces")
        path = _place(entry, folder, source)
        try:
            hashes[entry.name] = _save(archive, entry, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise _damaged(source, f"`{entry.name}` is in it twice") from error
    raise _damaged(source, "it is cut off")


def _place(entry: tarfile.TarInfo, folder: Path, source: Path) -> Path:
    """Where an entry is unpacked.

    Raises:
        StoreError: it is no regular file, or its name leads anywhere but into a known folder.
    """
    parts = entry.name.split("/")
    is_file = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
    is_known = entry.name == DATABASE or (len(parts) > 1 and parts[0] in FOLDERS)
    is_plain = all(part not in ("", ".", "..") and not set(part) & set("\\:\0\n\r") for part in parts)
    if not (is_file and is_known and is_plain):
        raise _damaged(source, f"it holds `{entry.name[:200]!r}`, which is no file of a home")
    return folder.joinpath(*parts)


def _save(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> str:
    """Write one entry and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(entry)
    assert content is not None  # a regular file
    sha256 = hashlib.sha256()
    with path.open("xb") as file:
        while block := content.read(CHUNK_BYTES):
            sha256.update(block)
            file.write(block)
        if file.tell() != entry.size:
            raise tarfile.ReadError(f"{entry.name} is cut off")
        file.flush()
        os.fsync(file.fileno())
    return sha256.hexdigest()


def _check_contents(raw: bytes, hashes: dict[str, str], source: Path) -> None:
    lines = [json.loads(line) for line in raw.splitlines()]
    announced = {str(line["name"]): str(line["sha256"]) for line in lines if isinstance(line, dict)}
    wrong = sorted(
        name for name in announced.keys() | hashes.keys() if announced.get(name) != hashes.get(name)
    )
    if wrong:
        raise _damaged(source, f"`{wrong[0]}` is damaged")


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(entry)
    if content is None:
        raise tarfile.ReadError(f"{entry.name} is no file")
    return content.read()


def _damaged(source: Path, why: str) -> TrackerError:
    return StoreError(f"`{source}` cannot be imported: {why}", hint=DAMAGED_HINT)


class _BoundedInfo(tarfile.TarInfo):
    """An entry whose extended header is not read into memory if it is too long."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if self.type in (*extended, tarfile.SOLARIS_XHDTYPE) and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too long")
        process: Callable[[tarfile.TarFile], tarfile.TarInfo] = super()._proc_member  # type: ignore[misc]
        return process(tar)


class _Limited:
    """The unpacked stream, which must not exceed `limit` bytes."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._n_read = 0
        self.limit = MAX_MANIFEST_BYTES + SLACK_BYTES

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            tarfile.ReadError: the archive unpacks to more than it announces.
        """
        block = bytes(self._stream.read(size))
        self._n_read += len(block)
        if self._n_read > self.limit:
            raise tarfile.ReadError("it unpacks to more than it announces")
        return block
