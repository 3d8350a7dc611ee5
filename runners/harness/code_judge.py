"""Run the tests of a programming task against a program, each in a process of its own.

A script for the sandbox, with the standard library alone, and numpy where a program uses it. The judge runs
the tests, the candidate runs the program that a model wrote. They exchange plain values as JSON: what the
program returns is rebuilt by the judge, so that an object that claims to equal everything, a patched `exit`,
or a process that ends early cannot pass a test. What is no plain value, such as an object of the program's
own class, stays where it is and is used from afar; it equals no plain value of the tests.

Covered: calls in both directions, arguments changed in place or returned, exceptions with type and arguments,
attributes, loops, comparisons between two objects of the program, subclasses of plain types.
Not covered: arithmetic between an object of the program and a plain value; `with` and `await`; threads.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import importlib
import json
import operator
import os
import secrets
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import IO, Any, NamedTuple

NOT_DUMPABLE = 4  # PR_SET_DUMPABLE of <linux/prctl.h>
MODULES = {*sys.stdlib_module_names, "numpy"}  # that a test may use because the program imported them
TESTS = "tests"  # `__name__` of the tests: the program may look into objects of their classes
ENDED = "the program ended"
ARRAY_KINDS = "biufcUSmM"  # of numpy's types: those that are no objects
OPEN_NAMES = {"__name__", "__qualname__", "__dict__", "__annotations__"}  # read from afar as other attributes

FUNCTIONS: dict[str, Callable[..., Any]] = {  # what one end may ask of an object of the other
    "__iter__": iter,
    "__next__": next,
    "__len__": len,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__hash__": hash,
    "__neg__": operator.neg,
    "__abs__": operator.abs,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__contains__": operator.contains,
    "isinstance": lambda kind, one: isinstance(one, kind),
    "issubclass": lambda kind, one: issubclass(one, kind),
    "says what it contains": lambda one: hasattr(type(one), "__contains__"),
}
BETWEEN_TWO = {  # only between two objects of the program: against a plain value, it would decide a test
    f"__{name}__": getattr(operator, name)
    for name in ("eq", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "matmul")
}
FUNCTIONS |= BETWEEN_TWO
FROM_AFAR = (
    "__iter__", "__next__", "__len__", "__bool__", "__getitem__", "__setitem__", "__delitem__", "__str__",
    "__repr__", "__neg__", "__abs__",
)  # fmt: skip


class Plain(NamedTuple):
    """A type whose values do not change: how one is written, as a list of plain values, and read again."""

    kind: type
    parts: Callable[[Any], list[Any]]
    read: Callable[..., Any]


class Changeable(NamedTuple):
    """A type of containers: how one is written, made empty from its first parts, and filled."""

    kind: type
    parts: Callable[[Any], list[Any]]
    n_first: int
    make: Callable[..., Any]
    fill: Callable[[Any, list[Any]], None]


def _pairs(value: dict[Any, Any]) -> list[Any]:
    return [one for pair in dict.items(value) for one in pair]


def _ordered_pairs(value: OrderedDict[Any, Any]) -> list[Any]:
    return [one for pair in OrderedDict.items(value) for one in pair]


def _dict(parts: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _fill_list(old: Any, parts: list[Any]) -> None:
    old[:] = parts


def _fill_dict(old: dict[Any, Any], parts: list[Any]) -> None:
    old.clear()
    dict.update(old, _dict(parts))


def _fill_ordered(old: OrderedDict[Any, Any], parts: list[Any]) -> None:
    old.clear()
    OrderedDict.update(old, _dict(parts))


def _fill_default(old: defaultdict[Any, Any], parts: list[Any]) -> None:
    old.default_factory = parts[0]
    _fill_dict(old, parts[1:])


def _fill_set(old: set[Any], parts: list[Any]) -> None:
    old.clear()
    old.update(parts)


def _fill_deque(old: deque[Any], parts: list[Any]) -> None:
    old.clear()
    old.extend(parts[1:])


def _fill_bytes(old: bytearray, parts: list[Any]) -> None:
    old[:] = parts[0]


def _array(kind: str, shape: tuple[int, ...], content: bytes) -> Any:
    numpy = importlib.import_module("numpy")
    dtype = numpy.dtype(kind)
    if dtype.kind not in ARRAY_KINDS:
        raise TypeError(kind)
    return numpy.frombuffer(content, dtype).reshape(shape).copy()


def _fill_array(old: Any, parts: list[Any]) -> None:
    old[...] = _array(*parts)


# The simple ones are written by themselves, the others as lists of values, each of them written in turn.
SIMPLE: dict[str, Plain] = {
    "str": Plain(str, str.__str__, str),  # type: ignore[arg-type]
    "int": Plain(int, lambda value: format(int.__int__(value), "x"), lambda text: int(text, 16)),  # type: ignore[arg-type, return-value]
    "float": Plain(float, float.__float__, float),  # type: ignore[arg-type]
    "bytes": Plain(bytes, lambda value: bytes(value).hex(), bytes.fromhex),  # type: ignore[arg-type, return-value]
    "Decimal": Plain(Decimal, str, Decimal),  # type: ignore[arg-type]
    "datetime": Plain(datetime, datetime.isoformat, datetime.fromisoformat),  # type: ignore[arg-type]
    "date": Plain(date, date.isoformat, date.fromisoformat),  # type: ignore[arg-type]
    "time": Plain(time, time.isoformat, time.fromisoformat),  # type: ignore[arg-type]
}
COMPOSED: dict[str, Plain] = {
    "tuple": Plain(tuple, lambda value: list(tuple.__iter__(value)), lambda *parts: parts),
    "frozenset": Plain(frozenset, lambda value: list(frozenset.__iter__(value)), lambda *p: frozenset(p)),
    "keys": Plain(type({}.keys()), list, lambda *parts: dict.fromkeys(parts).keys()),
    "values": Plain(type({}.values()), list, lambda *parts: dict(enumerate(parts)).values()),
    "items": Plain(type({}.items()), list, lambda *parts: dict(parts).items()),
    "complex": Plain(complex, lambda value: [value.real, value.imag], complex),
    "range": Plain(range, lambda value: [value.start, value.stop, value.step], range),
    "Fraction": Plain(Fraction, lambda value: [value.numerator, value.denominator], Fraction),
    "timedelta": Plain(timedelta, lambda value: [value.days, value.seconds, value.microseconds], timedelta),
}
CHANGEABLE: dict[str, Changeable] = {
    "list": Changeable(list, lambda value: list(list.__iter__(value)), 0, list, _fill_list),
    "Counter": Changeable(Counter, _pairs, 0, Counter, _fill_dict),
    "OrderedDict": Changeable(OrderedDict, _ordered_pairs, 0, OrderedDict, _fill_ordered),
    "defaultdict": Changeable(
        defaultdict, lambda value: [value.default_factory, *_pairs(value)], 0, defaultdict, _fill_default
    ),
    "dict": Changeable(dict, _pairs, 0, dict, _fill_dict),
    "set": Changeable(set, lambda value: list(set.__iter__(value)), 0, set, _fill_set),
    "deque": Changeable(
        deque,
        lambda value: [value.maxlen, *deque.__iter__(value)],
        1,
        lambda most: deque(maxlen=most),
        _fill_deque,
    ),
    "bytearray": Changeable(bytearray, lambda value: [bytes(value)], 0, bytearray, _fill_bytes),
}
ARRAY = Changeable(
    object, lambda value: [value.dtype.str, tuple(value.shape), value.tobytes()], 3, _array, _fill_array
)
PLAIN = SIMPLE | COMPOSED
NAME_OF: dict[type, str] = {known.kind: name for name, known in PLAIN.items()}
NAME_OF |= {known.kind: name for name, known in CHANGEABLE.items()}
TYPES = {kind.__name__: kind for kind in vars(builtins).values() if isinstance(kind, type)}
TYPES |= {kind.__name__: kind for kind in (*NAME_OF, type(None))}


class Remote:  # noqa: D101 - its `__doc__` is that of the object
    # An object that stays in the other process; of what plain type it is a kind, if it is one.
    __slots__ = ("__weakref__", "_remote_base", "_remote_number", "_remote_peer")

    def __init__(self, peer: Peer, number: int, base: str | None) -> None:
        object.__setattr__(self, "_remote_peer", peer)
        object.__setattr__(self, "_remote_number", number)
        object.__setattr__(self, "_remote_base", base)

    __doc__ = property(lambda self: _ask(self, "get", "__doc__"))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The plain type, or the program's own class."""
        if self._remote_base is not None:
            return CHANGEABLE[self._remote_base].kind
        kind = _ask(self, "get", "__class__") if self._remote_peer.is_judge else Remote
        return kind if type(kind) is Remote else Remote

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it there."""
        return self._remote_peer.exchange("call", self._remote_number, "", args, named)

    def __getattr__(self, name: str) -> Any:
        """Its attribute, unless it has a meaning for Python or numpy, such as `__array__`."""
        return _attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it there."""
        _ask(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        """Delete it there."""
        _ask(self, "del", name)

    def __hash__(self) -> int:
        """By the program; in the program, by identity."""
        return int(_ask(self, "apply", "__hash__")) if self._remote_peer.is_judge else object.__hash__(self)

    def __contains__(self, one: Any) -> bool:
        """As the program says, unless it says so of everything."""
        if self._remote_base is not None:
            return one in _plain(self)
        if not _ask(self, "apply", "says what it contains"):
            return any(known is one or known == one for known in self)  # type: ignore[attr-defined]
        if not _ask(self, "apply", "__contains__", one):
            return False
        try:
            return not _ask(self, "apply", "__contains__", secrets.token_hex())
        except Exception:  # noqa: BLE001 - it compares with what it knows
            return True

    def __instancecheck__(self, one: Any) -> bool:
        """Whether an object of the program is one of this class of the program."""
        return _is_afar(one) and bool(_ask(self, "apply", "isinstance", one))

    def __subclasscheck__(self, one: Any) -> bool:
        """Whether a class of the program is one of this one's."""
        return _is_afar(one) and bool(_ask(self, "apply", "issubclass", one))


class Kept:
    """A value of a subclass of a plain type: the plain value is here, its other attributes are not."""

    def __getattr__(self, name: str) -> Any:
        """Its attribute over there."""
        return _attribute(self, name)

    def __str__(self) -> str:
        """As the program writes it."""
        return str(_ask(self, "apply", "__str__"))

    def __repr__(self) -> str:
        """As the program shows it."""
        return str(_ask(self, "apply", "__repr__"))


KEPT = {
    kind.__name__: type(f"Kept{kind.__name__}", (Kept, kind), {})
    for kind in (str, int, float, bytes, tuple, frozenset, complex)
}


def _ask(afar: Any, what: str, name: str, *args: Any) -> Any:
    return afar._remote_peer.exchange(what, afar._remote_number, name, args, {})


def _attribute(afar: Any, name: str) -> Any:
    if name.startswith(("__", "_remote_")) and name not in OPEN_NAMES:
        raise AttributeError(name)
    return _ask(afar, "get", name)


def _is_afar(value: Any) -> bool:
    return issubclass(type(value), Remote | Kept)


def _plain(value: Any) -> Any:
    """The value of an object of the program that is a kind of a plain type, else itself."""
    is_plain = type(value) is Remote and value._remote_base is not None
    return _ask(value, "plain", value._remote_base) if is_plain else value


def _from_afar(name: str) -> Callable[..., Any]:
    def method(self: Remote, *args: Any) -> Any:
        return _ask(self, "apply", name, *args)

    return method


def _between_two(name: str) -> Callable[..., Any]:
    def method(self: Remote, other: Any) -> Any:
        if self._remote_base is not None:
            return BETWEEN_TWO[name](_plain(self), _plain(other))
        if not _is_afar(other) or not self._remote_peer.is_judge:
            return NotImplemented
        return _ask(self, "apply", name, other)

    return method


for _name in FROM_AFAR:
    setattr(Remote, _name, _from_afar(_name))
for _name in BETWEEN_TWO:
    setattr(Remote, _name, _between_two(_name))


class Outbound:
    """The values of one message: a container that can change is written once, however often it occurs."""

    def __init__(self, peer: Peer, known: Sequence[Any] = ()) -> None:
        self.peer, self.objects = peer, list(known)
        self._places = {id(one): place for place, one in enumerate(self.objects)}

    def value(self, value: Any) -> Any:
        """The value as JSON: by itself if it is plain, else as a number that stands for it."""
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            value = value.item()
        if value is None or value is True or value is False:
            return value
        if _is_afar(value):
            return {"yours": value._remote_number}
        name = NAME_OF.get(type(value))
        if name in CHANGEABLE or _is_array(value):
            return self._place(value)
        if name is not None:
            return self._plain(name, value)
        if isinstance(value, type):
            return self._type(value)
        return self._subclass(value)

    def heap(self) -> list[Any]:
        """The contents of the containers, those within others included."""
        written: list[Any] = []
        while len(written) < len(self.objects):
            value = self.objects[len(written)]
            name = "array" if _is_array(value) else _changeable(value)
            parts = (ARRAY if name == "array" else CHANGEABLE[str(name)]).parts(value)
            written.append([name, [self.value(part) for part in parts]])
        return written

    def _place(self, value: Any) -> dict[str, Any]:
        place = self._places.setdefault(id(value), len(self.objects))
        if place == len(self.objects):
            self.objects.append(value)
        return {"at": place}

    def _plain(self, name: str, value: Any) -> dict[str, Any]:
        if name in SIMPLE:
            return {name: SIMPLE[name].parts(value)}
        return {name: [self.value(part) for part in COMPOSED[name].parts(value)]}

    def _type(self, kind: type) -> dict[str, Any]:
        if kind in self.peer.kind_numbers:
            return {"yours": self.peer.kind_numbers[kind]}
        if TYPES.get(kind.__name__) is kind:
            return {"type": kind.__name__}
        if not issubclass(kind, BaseException):
            return {"mine": [self.peer.number(kind), None]}
        bases = [self._type(base) for base in kind.__bases__ if issubclass(base, BaseException)]
        return {"exception": [self.peer.number(kind), kind.__name__, bases]}

    def _subclass(self, value: Any) -> dict[str, Any]:
        """A value of a subclass of a plain type, or of any other class."""
        if (base := _changeable(value)) is not None:
            return {"mine": [self.peer.number(value), base]} if not self.peer.is_judge else self._place(value)
        base = next((name for name, known in PLAIN.items() if isinstance(value, known.kind)), None)
        if base is None:
            return {"mine": [self.peer.number(value), None]}
        plain = self._plain(base, value)
        return {"kept": [self.peer.number(value), base, plain]} if base in KEPT else plain


def _changeable(value: Any) -> str | None:
    if (name := NAME_OF.get(type(value))) in CHANGEABLE:
        return name
    return next((name for name, known in CHANGEABLE.items() if isinstance(value, known.kind)), None)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.dtype.kind in ARRAY_KINDS


class Inbound:
    """The values of one message that the other end wrote; reading runs no code of theirs here."""

    def __init__(self, peer: Peer, heap: Any, known: Sequence[Any] = (), before: Sequence[Any] = ()) -> None:
        self.peer, self.objects = peer, list(known)
        for name, parts in heap[len(known) :]:
            kind = ARRAY if name == "array" else CHANGEABLE[name]
            self.objects.append(kind.make(*[self.value(part) for part in parts[: kind.n_first]]))
        for place, (name, parts) in enumerate(heap):
            if place < len(before) and [name, parts] == before[place]:
                continue
            if place < len(before) and name != before[place][0]:
                raise TypeError(name)
            kind = ARRAY if name == "array" else CHANGEABLE[name]
            kind.fill(self.objects[place], [self.value(part) for part in parts])

    def value(self, written: Any) -> Any:
        """The value that the other end wrote."""
        if written is None or written is True or written is False:
            return written
        ((name, inner),) = written.items()
        if name in SIMPLE:
            return SIMPLE[name].read(inner)
        if name in COMPOSED:
            return COMPOSED[name].read(*[self.value(part) for part in inner])
        if name in ("at", "type", "yours"):
            places: dict[str, Any] = {"at": self.objects, "type": TYPES, "yours": self.peer.own}
            return places[name][inner]
        return self._afar(name, inner)

    def _afar(self, name: str, inner: Any) -> Any:
        number = int(inner[0])
        known = self.peer.afar
        if number in known:
            return known[number]
        if name == "mine":
            known[number] = Remote(self.peer, number, inner[1])
        elif name == "kept":
            kind = KEPT[inner[1]]
            plain = self.value(inner[2])
            kept: Any = kind(plain.real, plain.imag) if inner[1] == "complex" else kind(plain)
            vars(kept).update(_remote_peer=self.peer, _remote_number=number)
            known[number] = kept
        else:
            bases = tuple(self.value(base) for base in inner[2])
            kind = type(str(inner[1]), bases, {"__str__": _says})
            if not issubclass(kind, BaseException):
                raise TypeError(kind)
            known[number] = kind
            self.peer.kind_numbers[kind] = number
        return known[number]


def _says(error: BaseException) -> str:
    """What the program says of its own exception."""
    return str(vars(error).get("_remote_text", BaseException.__str__(error)))


class Peer:
    """One end of the conversation: asks the other one, and answers what it asks meanwhile."""

    def __init__(self, read_from: IO[bytes], write_to: IO[bytes], *, is_judge: bool) -> None:
        self._read_from, self._write_to = read_from, write_to
        self.is_judge = is_judge  # the other end may look into few of its objects
        self.is_broken = False  # the other end ended, or said what makes no sense
        self.afar: dict[int, Any] = {}
        self.kind_numbers: dict[type, int] = {}  # of exceptions of the other end
        self.own: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}  # by identity; `_own` keeps the objects alive

    def number(self, value: Any) -> int:
        """The number that stands for an object of this end."""
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self.own[number] = value
        return number

    def exchange(
        self, what: str, number: int, name: str, args: Sequence[Any], named: Mapping[str, Any]
    ) -> Any:
        """The answer to a question, with the arguments changed as they were changed over there."""
        sending = Outbound(self)
        written = [sending.value(one) for one in [*args, *named.values()]]
        before = sending.heap()
        question = {"do": what, "of": number, "name": name, "args": written, "names": list(named)}
        self.send(question | {"heap": before})
        while "answer" not in (message := self.receive()):
            self._answer(message)
        with self._protocol():
            answer = message["answer"]
            received = Inbound(self, answer["heap"], sending.objects, before)
            if "error" not in answer:
                return received.value(answer["value"])
            error = _error(received, answer, ends_loop=name == "__next__")
        raise error

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one line."""
        line = json.dumps(message).encode() + b"\n"
        with self._protocol():
            self._write_to.write(line)
            self._write_to.flush()

    def receive(self) -> dict[str, Any]:
        """The next line.

        Raises:
            SystemExit: the other process ended.
        """
        with self._protocol():
            line = self._read_from.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            return dict(json.loads(line))

    def serve(self) -> None:
        """Answer questions until the other end closes."""
        while True:
            self._answer(self.receive())

    @contextmanager
    def _protocol(self) -> Iterator[None]:
        """Whatever fails here is no exception that a test may expect: the other end is gone."""
        try:
            yield
        except Exception as error:
            self.is_broken = True
            raise SystemExit(ENDED) from error

    def _answer(self, question: Mapping[str, Any]) -> None:
        with self._protocol():
            received = Inbound(self, question["heap"])
            args = [received.value(one) for one in question["args"]]
            n_plain = len(args) - len(question["names"])
            named = dict(zip(question["names"], args[n_plain:], strict=True))
            subject = self.own[question["of"]]
        sending = Outbound(self, received.objects)
        try:
            value = self._value(str(question["do"]), subject, str(question["name"]), args[:n_plain], named)
            answer = {"value": sending.value(value)}
        except BaseException as error:  # noqa: BLE001 - whatever the program raises is passed on
            answer = _written_error(sending, error)
        self.send({"answer": answer | {"heap": sending.heap()}})

    def _value(self, what: str, subject: Any, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        if what == "call":
            return subject(*args, **named)
        if self.is_judge and not _is_open(subject, what, name):
            raise TypeError("only a call is possible")
        if what == "apply":
            return FUNCTIONS[name](subject, *args)
        if what == "plain":
            known = CHANGEABLE[name]
            parts = known.parts(subject)
            plain = known.make(*parts[: known.n_first])
            known.fill(plain, parts)
            return plain
        if what == "get":
            return getattr(subject, name)
        return setattr(subject, name, *args) if what == "set" else delattr(subject, name)


def _is_open(subject: Any, what: str, name: str) -> bool:
    """Whether the program may do this with an object of the tests: loop over it, or use a class of theirs."""
    if what == "apply" and name in ("__iter__", "__next__") and hasattr(type(subject), "__next__"):
        return True
    return type(subject).__module__ == TESTS and (what == "apply" or not name.startswith("__"))


def _written_error(sending: Outbound, error: BaseException) -> dict[str, Any]:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the program writes it
        text = ""
    has = {name: one for name, one in vars(error).items() if not name.startswith("_")}
    return {
        "error": sending.value(type(error)),
        "says": sending.value(tuple(error.args)),
        "has": sending.value(has),
        "text": sending.value(text),
    }


def _error(received: Inbound, answer: Mapping[str, Any], *, ends_loop: bool) -> BaseException:
    """The exception that the other end raised; `StopIteration` only where a loop asks for the next value."""
    kind, text = received.value(answer["error"]), str(received.value(answer["text"]))
    if not issubclass(kind, BaseException):
        raise TypeError(kind)
    if issubclass(kind, StopIteration | StopAsyncIteration | GeneratorExit) and not ends_loop:
        return RuntimeError(text)
    args = received.value(answer["says"])
    try:
        error: BaseException = kind(*args)
    except Exception:  # noqa: BLE001 - it was made in another way
        error = kind.__new__(kind)
        error.args = args
    vars(error).update(received.value(answer["has"]))
    if kind in received.peer.kind_numbers:
        vars(error)["_remote_text"] = text
    return error


def candidate() -> None:
    """Run the program that the first message brings, then answer calls to what it defined."""
    peer = Peer(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"), is_judge=False)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    given = peer.receive()
    defined: dict[str, Any] = {}
    try:
        code = compile(given["program"], "<program>", "exec", dont_inherit=True)
        exec(code, defined)  # noqa: S102 - that is what the sandbox is for
    except BaseException as error:  # noqa: BLE001 - `SystemExit` fails as well
        peer.send({"failed": f"{type(error).__name__}: {error}"})
        return
    names = [name for name in given["names"] if name in defined]
    modules = {name: defined[name].__name__ for name in names if isinstance(defined[name], types.ModuleType)}
    sending = Outbound(peer)
    values = {name: sending.value(defined[name]) for name in names if name not in modules}
    peer.send({"values": values, "modules": modules, "heap": sending.heap()})
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
    peer = Peer(process.stdout, process.stdin, is_judge=True)
    try:
        _test(peer, job["program"], job["tests"])
    except BaseException as problem:  # noqa: BLE001 - a test fails in any way it likes
        error = f"{type(problem).__name__}: {problem}"[:500]
    if peer.is_broken:  # whatever the tests made of it
        error = error or ENDED
    process.kill()
    return {"nonce": job["nonce"], "passed": not error, "error": error}


def _test(peer: Peer, program: str, tests: str) -> None:
    """Run the tests with the names that the program defined.

    Raises:
        BaseException: a test failed, or the program did.
    """
    code = compile(tests, "<tests>", "exec", dont_inherit=True)
    compile(program, "<program>", "exec", dont_inherit=True)
    tree = ast.parse(tests)
    used = _names(tree)
    peer.send({"program": program, "names": sorted(name for name in used if not name.startswith("__"))})
    defined = peer.receive()
    if "failed" in defined:
        raise RuntimeError(defined["failed"])
    names = _modules(defined["modules"], used) | _objects(peer, defined, tree, used)
    exec(code, names | {"__name__": TESTS})  # noqa: S102 - that is what the sandbox is for


def _objects(peer: Peer, defined: Mapping[str, Any], tree: ast.Module, used: set[str]) -> dict[str, Any]:
    """What the program defined of the names that the tests use, besides modules.

    A test of a function called `sum` means that one; a test of another function means the built-in.
    """
    received = Inbound(peer, defined["heap"])
    found = {
        name: received.value(value)
        for name, value in defined["values"].items()
        if name in used and not name.startswith("__") and not (name in MODULES and _is_module(name, tree))
    }
    others = {name: value for name, value in found.items() if not hasattr(builtins, name)}
    tested = {name: value for name, value in found.items() if _is_tested(name, tree)}
    return others | tested if others else found


def _is_module(name: str, tree: ast.Module) -> bool:
    """Whether the tests use the name as that of a module: it has attributes."""
    bases = [node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return any(isinstance(base, ast.Name) and base.id == name for base in bases)


def _is_tested(name: str, tree: ast.Module) -> bool:
    """Whether every use of the name is in an assertion about nothing else: it is what the tests test.

    Anywhere else the name of a built-in means the built-in, or a program could give the expected values.
    """
    users = [one for one in tree.body if name in _names(one)]
    return bool(users) and all(isinstance(one, ast.Assert) and _names(one) == {name} for one in users)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


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
