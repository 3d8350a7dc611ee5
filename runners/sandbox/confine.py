"""`python confine.py FD COMMAND...`: run a command under the filter of system calls that the open file holds.

For sandboxes that bubblewrap does not set up. It imports nothing of ours and asks for no rights.
"""

from __future__ import annotations

import ctypes
import os
import sys

NO_NEW_PRIVILEGES, SET_FILTER, FILTER_MODE = 38, 22, 2  # of `prctl`, in linux/prctl.h and linux/seccomp.h
INSTRUCTION_BYTES = 8


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def confine(program: bytes) -> None:
    """Put this process under the filter, for good.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    content = ctypes.create_string_buffer(program, len(program))
    given = FilterProgram(len(program) // INSTRUCTION_BYTES, ctypes.addressof(content))
    for option, *arguments in ((NO_NEW_PRIVILEGES, 1, 0), (SET_FILTER, FILTER_MODE, ctypes.byref(given))):
        if libc.prctl(option, *arguments, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    """Read the filter, obey it, and become the command."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        program = file.read()
    confine(program)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the caller's


if __name__ == "__main__":
    main()
