"""The files of a sandbox in memory: which ones, and where they are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runners.sandbox import image as images
from runners.sandbox import image_holder
from runners.sandbox.image import ImageFiles, image_files
from runners.sandbox.packages import PACKAGES
from tracker.interpreter import python_command


def plant(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_image_a_tree_is_taken_whole_but_for_the_names_left_out_at_its_top(tmp_path: Path) -> None:
    plant(tmp_path, "a.py", "test/b.py", "in/test/c.py", "in/c.opt-1.pyc", "in/c.pyc", "lib.a")
    (tmp_path / "link").symlink_to("a.py")
    (tmp_path / "dangling").symlink_to("nothing")
    found = ImageFiles()
    found.add_tree(tmp_path, left_out=("test",))
    assert {Path(path).relative_to(tmp_path).as_posix() for path in found.files} == {
        "a.py", "in/test/c.py", "in/c.pyc", "link"
    }  # fmt: skip


def test_image_links_that_lead_to_a_program_are_kept(tmp_path: Path) -> None:
    plant(tmp_path, "real/python3.11")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to("../real/python3.11")
    (tmp_path / "bin/python").symlink_to("python3")
    found = ImageFiles()
    found.add_chain(f"{tmp_path}/bin/python")
    assert found.links == {
        f"{tmp_path}/bin/python": "python3",
        f"{tmp_path}/bin/python3": "../real/python3.11",
    }
    assert list(found.files) == [f"{tmp_path}/real/python3.11"]


def test_image_libraries_are_those_that_a_program_loads() -> None:
    program = os.path.realpath(sys.executable)
    found = ImageFiles(files={program: program})
    found.add_libraries()
    names = {Path(path).name for path in found.files}
    assert {"libc.so.6", "libm.so.6"} <= names
    assert any(name.startswith("ld-linux") for name in names)


def test_image_without_a_card_no_file_of_the_system_but_libraries_and_a_few_programs() -> None:
    found = image_files((), needs_gpu=False)
    places = {*found.files, *found.links}
    programs = {Path(place).name for place in places if place.startswith(("/usr/bin/", "/bin/", "/sbin/"))}
    assert programs - {Path(sys.executable).name} <= {
        *images.PROGRAMS,
        *(f"python3.{n}" for n in range(20)),
        "python3",
    }
    assert not any("site-packages" in place or "/share/doc/" in place for place in places)
    assert all(any(place == root or place.startswith(f"{root}/") for root in found.roots) for place in places)
    assert not any(one.startswith(f"{other}/") for one in found.roots for other in found.roots)


def test_image_on_a_card_covers_nothing_of_the_system() -> None:
    found = image_files(PACKAGES, needs_gpu=True)
    assert not found.roots & set(images.SYSTEM)
    assert f"{images.STATIC_PROC}/loadavg" in found.texts
    assert found.texts[f"{images.STATIC_PROC}/loadavg"] == ""


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o644), (0o700, 0o755)])
def test_image_holder_copies_for_everybody_to_read_with_the_time_of_the_source(
    mode: int, expected: int, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 1000)
    source.chmod(mode)
    os.utime(source, ns=(1, 1_234_567_890))
    place = tmp_path / "image"
    files = {"/a/b": str(source), "/a/gone": str(tmp_path / "gone")}
    image_holder.fill(str(place), files, {"/c/link": "../a/b"}, {"/.proc/cpuinfo": "text"})
    copy = place / "a/b"
    assert copy.read_bytes() == source.read_bytes()
    assert (copy.stat().st_mtime_ns, copy.stat().st_mode & 0o777) == (1_234_567_890, expected)
    assert not (place / "a/gone").exists()
    assert (place / "c/link").resolve() == copy.resolve()
    assert (place / ".proc/cpuinfo").read_text() == "text"


def test_image_holder_ends_when_whoever_started_it_does(tmp_path: Path) -> None:
    wanted = {"place": str(tmp_path), "files": {}, "links": {}, "texts": {"/x": "y"}}
    command = python_command("-I", "-S", image_holder.__file__)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(json.dumps(wanted).encode() + b"\n")
        holder.stdin.flush()
        assert int(holder.stdout.readline()) == holder.pid
        assert holder.poll() is None
        holder.stdin.close()
        assert holder.wait(10) == 0
    assert (tmp_path / "x").read_text() == "y"


def test_image_the_library_pattern_reads_what_ldd_prints() -> None:
    told = (
        "/a/b.so:\n\tlinux-vdso.so.1 (0x00007f650db2b000)\n"
        "\tlibc.so.6 => /lib/libc.so.6 (0x00007f650d21e000)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f650db2d000)\n\tlibgone.so => not found\n\tstatically linked\n"
    )
    assert images.LIBRARY.findall(told) == ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]


def test_image_an_empty_place_that_a_killed_process_left_is_removed_and_one_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_use, lock = images.claimed_place()
    left = tmp_path / f"{images.PREFIX}left"
    left.mkdir()
    other, other_lock = images.claimed_place()
    assert {path.name for path in tmp_path.iterdir()} == {Path(in_use).name, Path(other).name}
    os.close(lock)
    os.close(other_lock)
