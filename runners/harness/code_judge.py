"""Run the tests of a programming task against a program, each in a process of its own.

A script for the sandbox, with the standard library alone. The judge runs the tests, the candidate runs the
program that a model wrote. They exchange plain values as JSON: what the program returns is rebuilt by the
judge, so that an object that claims to equal everything, a patched `exit`, or a process that ends early
cannot pass a test. What is no plain value, such as an object of the program's own class, stays where it is
and is used from afar.

Covered: calls in both directions, arguments changed in place, exceptions by name, attributes and loops.
Not covered: arithmetic between objects of the program's own classes; threads.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import importlib
import json
import os
import subprocess
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import IO, Any

NOT_DUMPABLE = 4  # PR_SET_DUMPABLE of <linux/prctl.h>
MODULES = {*sys.stdlib_module_names, "numpy"}  # that a test may use because the program imported them
REMOTE_METHODS = (
    "__iter__", "__next__", "__len__", "__bool__", "__getitem__", "__setitem__", "__str__", "__repr__",
)  # fmt: skip
Plain = tuple[type, Callable[[Any], Any], Callable[[Any], Any]]  # the type, how it is written, and read again
SIMPLE: dict[str, Plain] = {
    "str": (str, str, str),
    "int": (int, lambda value: format(int(value), "x"), lambda text: int(text, 16)),  # of any length
    "float": (float, float, float),
    "bytes": (bytes, lambda value: bytes(value).hex(), bytes.fromhex),
    "bytearray": (bytearray, lambda value: bytes(value).hex(), bytearray.fromhex),
    "Decimal": (Decimal, str, Decimal),
}
CONTAINERS: dict[str, Plain] = {  # written as a list of values, each of them written in turn
    "list": (list, list, list),
    "tuple": (tuple, list, tuple),
    "dict": (
        dict,
        lambda value: [one for pair in value.items() for one in pair],
        lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    ),
    "set": (set, list, set),
    "frozenset": (frozenset, list, frozenset),
    "keys": (type({}.keys()), list, frozenset),
    "deque": (deque, list, deque),
    "complex": (complex, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    "range": (range, lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    "Fraction": (Fraction, lambda value: [value.numerator, value.denominator], lambda p: Fraction(*p)),
}


class Remote:
    """An object that stays in the other process."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.__dict__.update(_peer=peer, _number=number)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it there."""
        return self._peer.call(self._number, args, named)

    def __getattr__(self, name: str) -> Any:
        """Its attribute, unless it has a meaning for Python or numpy, such as `__array__`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask({"get": name, "of": self._number})


def _remote_method(name: str) -> Callable[..., Any]:
    def method(self: Remote, *args: Any) -> Any:
        return self._peer.ask({"method": name, "of": self._number, "args": self._peer.encode(args)})

    return method


for _name in REMOTE_METHODS:
    setattr(Remote, _name, _remote_method(_name))


class Peer:
    """One end of the conversation: asks the other one, and answers what it asks meanwhile."""

    def __init__(self, read_from: IO[bytes], write_to: IO[bytes], *, opens_objects: bool) -> None:
        self._read_from, self._write_to = read_from, write_to
        self._opens_objects = opens_objects  # whether the other end may look into objects of this one
        self._own: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}  # by identity; `_own` keeps the objects alive
        self._remote: dict[int, Remote] = {}

    def encode(self, value: Any) -> Any:
        """The value as JSON: by itself if it is plain, else as a number that stands for it."""
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        for name, (kind, write, _) in SIMPLE.items():
            if isinstance(value, kind):
                return {name: write(value)}
        for name, (kind, parts, _) in CONTAINERS.items():
            if isinstance(value, kind):
                return {name: [self.encode(part) for part in parts(value)]}
        if isinstance(value, Remote):
            return {"yours": value._number}
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._own[number] = value
        return {"mine": number}

    def decode(self, written: Any) -> Any:
        """The value that the other end encoded; it runs no code of theirs."""
        if written is None or isinstance(written, bool):
            return written
        ((name, inner),) = written.items()
        if name == "yours":
            return self._own[inner]
        if name == "mine":
            return self._remote.setdefault(int(inner), Remote(self, int(inner)))
        if name in SIMPLE:
            return SIMPLE[name][2](inner)
        return CONTAINERS[name][2]([self.decode(part) for part in inner])

    def call(self, number: int, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Call the object over there, and change the arguments as it changed them."""
        given = [*args, *named.values()]
        sent = [self.encode(one) for one in given]
        answer = self._exchange({"call": number, "args": sent, "names": list(named)})
        for before, after, own in zip(sent, answer["args"], given, strict=True):
            if after != before:
                _replace(own, self.decode(after))
        return self.decode(answer["value"])

    def ask(self, question: dict[str, Any]) -> Any:
        """The value that answers the question."""
        return self.decode(self._exchange(question)["value"])

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one line."""
        self._write_to.write(json.dumps(message).encode() + b"\n")
        self._write_to.flush()

    def receive(self) -> dict[str, Any]:
        """The next line.

        Raises:
            EOFError: the other process ended.
        """
        line = self._read_from.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the program ended")
        return dict(json.loads(line))

    def serve(self) -> None:
        """Answer questions until the other end closes."""
        while True:
            self._answer(self.receive())

    def _exchange(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self.send(question)
        while "answer" not in (message := self.receive()):
            self._answer(message)
        answer: dict[str, Any] = message["answer"]
        if "error" in answer:
            raise _error(str(answer["error"]), ends_loop=question.get("method") == "__next__")(answer["says"])
        return answer

    def _answer(self, question: Mapping[str, Any]) -> None:
        try:
            answer = self._value(question)
        except BaseException as error:  # noqa: BLE001 - whatever the program raises is passed on
            is_end = isinstance(error, StopIteration)
            said = "" if is_end else str(error)
            answer = {"error": _base_name(type(error)), "says": said}
        self.send({"answer": answer})

    def _value(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if "call" in question:
            values = [self.decode(one) for one in question["args"]]
            names = question["names"]
            n_plain = len(values) - len(names)
            value = self._own[question["call"]](
                *values[:n_plain], **dict(zip(names, values[n_plain:], strict=True))
            )
            return {"value": self.encode(value), "args": [self.encode(one) for one in values]}
        if not self._opens_objects:
            raise AttributeError("only a call is possible")
        subject = self._own[question["of"]]
        if "get" in question:
            return {"value": self.encode(getattr(subject, question["get"]))}
        if question["method"] == "__bool__":
            return {"value": bool(subject)}
        method = getattr(type(subject), question["method"], None)
        if method is None:
            raise TypeError(f"{type(subject).__name__} has no {question['method']}")
        return {"value": self.encode(method(subject, *self.decode(question["args"])))}


def _replace(old: Any, new: Any) -> None:
    """Give a container of ours the content that the same container has over there."""
    if isinstance(old, list | bytearray) and isinstance(new, list | bytearray):
        old[:] = new
    elif isinstance(old, dict | set | deque) and type(old) is type(new):
        old.clear()
        (old.extend if isinstance(old, deque) else old.update)(new)


def _base_name(kind: type) -> str:
    """The name of the exception, or of the built-in one that it is a kind of."""
    return next(str(one.__name__) for one in kind.__mro__ if getattr(builtins, one.__name__, None) is one)


def _error(name: str, *, ends_loop: bool) -> type[Exception]:
    """The built-in exception of that name; `StopIteration` only where a loop asks for the next value."""
    kind = getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return RuntimeError
    return RuntimeError if kind is StopIteration and not ends_loop else kind


def candidate() -> None:
    """Run the program that the first message brings, then answer calls to what it defined."""
    peer = Peer(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"), opens_objects=True)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    given = peer.receive()
    defined: dict[str, Any] = {}
    try:
        exec(given["program"], defined)  # noqa: S102 - that is what the sandbox is for
    except BaseException as error:  # noqa: BLE001 - `SystemExit` fails as well
        peer.send({"failed": f"{type(error).__name__}: {error}"})
        return
    names = [name for name in given["names"] if name in defined]
    modules = {name: defined[name].__name__ for name in names if isinstance(defined[name], types.ModuleType)}
    values = {name: peer.encode(defined[name]) for name in names if name not in modules}
    peer.send({"values": values, "modules": modules})
    peer.serve()


def judge(job_path: str) -> dict[str, Any]:
    """Whether the program passes the tests in the job, and if not, why."""
    with open(job_path, encoding="utf-8") as file:
        job = json.load(file)
    os.unlink(job_path)  # the candidate would find the tests in it
    if ctypes.CDLL(None).prctl(NOT_DUMPABLE, 0, 0, 0, 0) != 0:
        return {"passed": False, "error": "the judge cannot be protected"}
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, "candidate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    error = ""
    try:
        _test(Peer(process.stdout, process.stdin, opens_objects=False), job["program"], job["tests"])
    except BaseException as problem:  # noqa: BLE001 - a test fails in any way it likes
        error = f"{type(problem).__name__}: {problem}"[:500]
    process.kill()
    return {"nonce": job["nonce"], "passed": not error, "error": error}


def _test(peer: Peer, program: str, tests: str) -> None:
    """Run the tests with the names that the program defined.

    Raises:
        BaseException: a test failed, or the program did.
    """
    code = compile(tests, "<tests>", "exec")
    compile(program, "<program>", "exec")
    used = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    peer.send({"program": program, "names": sorted(name for name in used if not name.startswith("__"))})
    defined = peer.receive()
    if "failed" in defined:
        raise RuntimeError(defined["failed"])
    names = _modules(defined["modules"], used) | _objects(peer, defined["values"], used)
    exec(code, names | {"__name__": "tests"})  # noqa: S102 - that is what the sandbox is for


def _objects(peer: Peer, written: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """What the program defined of the names that the tests use, besides modules.

    A test of a function called `sum` means that one; a test of another function means the built-in.
    """
    found = {
        name: peer.decode(value)
        for name, value in written.items()
        if name in used and name not in MODULES and not name.startswith("__")
    }
    return {name: value for name, value in found.items() if not hasattr(builtins, name)} or found


def _modules(told: Mapping[str, str], used: set[str]) -> dict[str, Any]:
    """The modules that the program imported under names that the tests use."""
    return {
        name: importlib.import_module(module)
        for name, module in told.items()
        if name in used
        and module.partition(".")[0] in MODULES
        and not hasattr(builtins, name)
        and (name not in MODULES or name == module)
    }


def main() -> None:
    """Judge the job in the given file, or be the candidate of one."""
    if sys.argv[1] == "candidate":
        candidate()
        return
    said = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # a test may print
    verdict = judge(sys.argv[1])
    os.write(said, b"\n" + json.dumps(verdict).encode() + b"\n")


if __name__ == "__main__":
    main()
