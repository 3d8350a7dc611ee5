"""The filter of system calls, read as the kernel reads it, and tried in a sandbox."""

from __future__ import annotations

import errno
import json
import platform
import re
from pathlib import Path

import pytest

from runners.sandbox import args as sandbox_args
from runners.sandbox import run as sandboxes
from runners.sandbox import seccomp
from runners.sandbox.limits import Limits
from runners.sandbox.run import Kind, Sandbox, SandboxSpec
from runners.sandbox.seccomp import ARCHITECTURES, Calls, instructions
from tracker.errors import TrackerError
from tracker.interpreter import python_command

ALLOWED, NO_CALL = "allowed", errno.ENOSYS
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/aarch64-linux-gnu/asm/unistd_64.h"),
}
LIMITS = Limits(cpu_s=20.0, wall_s=40.0, memory_bytes=2**29, file_bytes=2**20, n_processes=24)
CLONE_THREAD, CLONE_NEWUSER, CLONE_PIDFD = 0x3D0F00, 0x10000011, 0x1011  # as glibc makes a thread; with more


def answer(
    calls: Calls, number: int, *arguments: int, machine: str = "x86_64", audit: int | None = None
) -> str | int:
    """What the filter says to a call: an error number, or a word."""
    shown = {seccomp.NUMBER_AT: number, seccomp.ARCHITECTURE_AT: audit or ARCHITECTURES[machine].audit}
    for place, value in enumerate(arguments):
        shown[seccomp.ARGUMENTS_AT + 8 * place] = value & 0xFFFFFFFF
    program, at, value = instructions(calls, machine), 0, 0
    compares = {
        seccomp.EQUAL: int.__eq__, seccomp.GREATER_EQUAL: int.__ge__, seccomp.GREATER: int.__gt__
    }  # fmt: skip
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == seccomp.RETURN:
            break
        if code == seccomp.LOAD:
            value = shown.get(constant, 0)
        elif code == seccomp.AND:
            value &= constant
        else:
            at += if_true if compares[code](value, constant) else if_false
    words = {seccomp.ALLOW: ALLOWED, seccomp.KILL: "killed"}
    return words.get(constant, constant & 0xFFFF)


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "computing", "on_card", "programs"),
    [
        ("read", (), ALLOWED, ALLOWED, ALLOWED),
        ("execve", (), ALLOWED, ALLOWED, ALLOWED),
        ("pipe2", (), errno.EPERM, ALLOWED, ALLOWED),
        ("memfd_create", (), errno.EPERM, ALLOWED, errno.EPERM),
        ("socket", (1,), errno.EPERM, ALLOWED, ALLOWED),
        ("socket", (2,), errno.EPERM, errno.EPERM, ALLOWED),
        ("socket", (16,), errno.EPERM, errno.EPERM, errno.EPERM),  # the kernel's own
        ("clone", (CLONE_THREAD,), ALLOWED, ALLOWED, ALLOWED),
        ("clone", (CLONE_NEWUSER,), errno.EPERM, errno.EPERM, errno.EPERM),
        ("clone", (CLONE_PIDFD,), errno.EPERM, errno.EPERM, errno.EPERM),
        ("unshare", (CLONE_NEWUSER,), errno.EPERM, errno.EPERM, errno.EPERM),
        ("mincore", (), errno.EPERM, errno.EPERM, errno.EPERM),
        ("keyctl", (), errno.EPERM, errno.EPERM, errno.EPERM),
        ("sysinfo", (), errno.EPERM, errno.EPERM, errno.EPERM),
        ("fadvise64", (3, 0, 0, 4), 0, 0, 0),  # told that it was done
        ("madvise", (0, 4096, 4), ALLOWED, ALLOWED, ALLOWED),
        ("madvise", (0, 4096, 12), errno.EINVAL, errno.EINVAL, errno.EINVAL),  # to be merged
        ("madvise", (0, 4096, 25), errno.EINVAL, errno.EINVAL, errno.EINVAL),  # collapsed
        ("fcntl", (3, 3), ALLOWED, ALLOWED, ALLOWED),
        ("fcntl", (3, 6), errno.EINVAL, ALLOWED, ALLOWED),  # a lock
        ("fcntl", (3, 1024), errno.EINVAL, errno.EINVAL, errno.EINVAL),  # a lease
        ("fcntl", (3, 1036), errno.EINVAL, errno.EINVAL, errno.EINVAL),  # a hint, kept with the file
        ("ioctl", (1, 0x5401), ALLOWED, ALLOWED, ALLOWED),
        ("ioctl", (1, 0x5412), errno.ENOTTY, errno.ENOTTY, errno.ENOTTY),  # typing into a terminal
        ("ioctl", (3, 0xC020462A), errno.ENOTTY, ALLOWED, errno.ENOTTY),  # of NVIDIA's driver
        ("ioctl", (3, 0x30000001), errno.ENOTTY, ALLOWED, errno.ENOTTY),
        ("ioctl", (3, 0xC020660B), errno.ENOTTY, errno.ENOTTY, errno.ENOTTY),  # where a file lies on the disk
        ("mmap", (0, 4096, 3, 0x22), ALLOWED, ALLOWED, ALLOWED),
        ("mmap", (0, 4096, 3, 0x40022), errno.ENOMEM, errno.ENOMEM, errno.ENOMEM),
        ("prctl", (38, 1), ALLOWED, ALLOWED, ALLOWED),
        ("prctl", (26, 2), errno.EINVAL, errno.EINVAL, errno.EINVAL),  # PR_SET_TSC
    ],
)
def test_seccomp_answers(
    name: str, arguments: tuple[int, ...], computing: object, on_card: object, programs: object, machine: str
) -> None:
    number = ARCHITECTURES[machine].numbers[name]
    found = [answer(calls, number, *arguments, machine=machine) for calls in Calls]
    assert found == [computing, on_card, programs]


def test_seccomp_what_is_not_listed_does_not_exist() -> None:
    listed = set(ARCHITECTURES["x86_64"].numbers.values())
    for number in set(range(600)) - listed:  # clone3, statx, io_uring, and all that is still to come
        assert answer(Calls.ON_CARD, number) == NO_CALL
    assert answer(Calls.COMPUTING, 0x40000000) == NO_CALL  # x32
    assert answer(Calls.COMPUTING, 0, audit=0x40000003) == "killed"  # 32 bits


def test_seccomp_the_larger_lists_allow_all_of_the_smallest() -> None:
    small = seccomp.rules(Calls.COMPUTING)
    for calls in (Calls.ON_CARD, Calls.PROGRAMS):
        large = seccomp.rules(calls)
        assert small.allowed < large.allowed
        assert not large.allowed & (large.answers.keys() | large.conditions.keys())


# calls that newer processors never had: each has a successor
OLD_CALLS = """
    access alarm arch_prctl chmod chown creat dup2 epoll_create epoll_wait eventfd fork getdents getpgrp
    inotify_init lchown link lstat mkdir mknod open pause pipe poll readlink rename rmdir select signalfd stat
    symlink time unlink ustat utime utimes vfork
"""


@pytest.mark.parametrize(("machine", "absent"), [("x86_64", set()), ("aarch64", set(OLD_CALLS.split()))])
def test_seccomp_every_name_has_a_number(machine: str, absent: set[str]) -> None:
    numbers = ARCHITECTURES[machine].numbers
    assert len(set(numbers.values())) == len(numbers)
    rules = [seccomp.rules(calls) for calls in Calls]
    named = {name for each in rules for name in (*each.allowed, *each.answers, *each.conditions)}
    assert named - numbers.keys() == absent
    assert numbers.keys() <= named


@pytest.mark.parametrize("machine", [name for name, path in HEADERS.items() if path.is_file()])
def test_seccomp_numbers_are_those_of_the_kernels_header(machine: str) -> None:
    text = HEADERS[machine].read_text()
    told = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    numbers = ARCHITECTURES[machine].numbers
    assert numbers == {name: told[name] for name in numbers}


def test_seccomp_without_a_table_the_sandbox_lacks_the_filter() -> None:
    assert not seccomp.is_supported("riscv64")
    plain = Sandbox(Kind.BUBBLEWRAP, sandbox_args.Variant(is_filtered=False))
    assert not plain.is_trusted
    assert plain.hides_files


def test_seccomp_code_of_an_agent_is_refused_without_the_filter() -> None:
    weak = Sandbox(Kind.BUBBLEWRAP, sandbox_args.Variant(is_filtered=False), lacks=("no filter works here",))
    with pytest.raises(TrackerError, match="too weak for code that an agent wrote: no filter") as caught:
        sandboxes.require_trusted(weak)
    assert "tracker doctor" in caught.value.hint
    sandboxes.require_trusted(Sandbox(Kind.BUBBLEWRAP))


TRIES = """
import ctypes, json, os, platform
libc = ctypes.CDLL(None, use_errno=True)
numbers = json.loads(NUMBERS)
def is_open(number):
    try: return os.fstat(number) is not None
    except OSError: return False
said = {}
for name, number in numbers.items():
    ctypes.set_errno(0)
    libc.syscall(number, 0, 0, 0, 0, 0, 0)
    said[name] = ctypes.get_errno()
open('said.json', 'w').write(json.dumps(said))
print([n for n in range(20) if is_open(n)])
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("calls", [Calls.COMPUTING, Calls.PROGRAMS])
def test_seccomp_holds_in_every_variant_of_the_sandbox(calls: Calls, tmp_path: Path) -> None:
    names = seccomp.rules(calls).answers
    numbers = ARCHITECTURES[platform.machine()].numbers
    tried = {name: numbers[name] for name in names if name in numbers}
    code = TRIES.replace("NUMBERS", repr(json.dumps(tried)))
    boxes = [Sandbox(Kind.BUBBLEWRAP, variant) for variant in sandboxes.variants() if variant.is_filtered]
    boxes.append(Sandbox(Kind.UNSHARE, sandbox_args.Variant(is_in_memory=False)))
    for place, box in enumerate(boxes):
        spec = SandboxSpec(
            {}, tmp_path / f"{place}", LIMITS, runs_programs=calls is Calls.PROGRAMS, packages=()
        )
        spec.writable.mkdir()
        end = box.run(python_command("-c", code), spec)
        assert end.returncode == 0, f"{box}: {end.stderr_tail}"
        said = json.loads((spec.writable / "said.json").read_text())
        assert said == {name: names[name] for name in tried}
        assert end.stdout_tail == "[0, 1, 2]\n"  # the filter itself is not left open
