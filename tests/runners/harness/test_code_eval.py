"""Programs in the sandbox: honest ones score as in plain Python, and no other one passes."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from pathlib import Path

import pytest

from runners.harness import code_eval
from runners.harness.code_eval import CodeEval, pass_at
from runners.sandbox.run import probe
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not probe().is_trusted, reason="there is no bubblewrap here")

TIMEOUT_S = 1.0
SORTED = "def check(f):\n    assert f([3, 1, 2]) == [1, 2, 3]\n    assert f([]) == []\ncheck(order)"
RIGHT = "def order(values):\n    return sorted(values)\n"

# Programs and tests that mean no harm: what plain Python says of them is right.
HONEST: dict[str, tuple[str, str]] = {
    "right": (RIGHT, SORTED),
    "wrong": ("def order(values):\n    return values\n", SORTED),
    "a syntax error": ("def order(values:\n", SORTED),
    "another name": ("def sort(values):\n    return sorted(values)\n", SORTED),
    "an error while it is loaded": (f"{RIGHT}raise ValueError('no')\n", SORTED),
    "sys.exit while it is loaded": (f"import sys\n{RIGHT}sys.exit(0)\n", SORTED),
    "the main block is not run": (f"{RIGHT}if __name__ == '__main__':\n    raise ValueError\n", SORTED),
    "plain values": (
        "from fractions import Fraction\nfrom decimal import Decimal\n"
        "from collections import Counter, deque\n"
        "def same(x):\n    return x\ndef more():\n"
        "    return [Fraction(1, 3), Decimal('1.10'), deque([1]), 1j]\n"
        "def count(x):\n    return Counter(x)\ndef names(x):\n    return x.keys()\n",
        "for x in (1, True, None, 2**5000, 1.5, float('inf'), 'a\\u2028\\ud800', b'\\x00', (1, (2,)),\n"
        "          {1: {2}}, frozenset({1}), range(3), [[]], -7):\n"
        "    assert same(x) == x and type(same(x)) is type(x)\n"
        "from fractions import Fraction\nfrom decimal import Decimal\nfrom collections import deque\n"
        "assert more() == [Fraction(1, 3), Decimal('1.1'), deque([1]), 1j]\n"
        "assert count('aab') == {'a': 2, 'b': 1}\nassert names({1: 2}) == {1}\n"
        "assert same(float('nan')) != 1",
    ),
    "a list changed in place": (
        "def order(values, key=None):\n    values.sort(key=key)\n",
        "x = [3, 1, 2]\nassert order(x) is None\nassert x == [1, 2, 3]\n"
        "order(values=x, key=lambda one: -one)\nassert x == [3, 2, 1]",
    ),
    "a function as an argument": (
        "def twice(f, x):\n    return f(f(x))\ndef compose(f, g):\n    return lambda x: f(g(x))\n",
        "assert twice(lambda x: x * 3, 2) == 18\nassert compose(str, abs)(-4) == '4'",
    ),
    "an error that is expected": (
        "class Odd(ValueError):\n    pass\ndef half(x):\n    if x % 2:\n        raise Odd('odd')\n"
        "    return x // 2\n",
        "assert half(4) == 2\ntry:\n    half(3)\nexcept ValueError as error:\n"
        "    assert str(error) == 'odd'\n"
        "else:\n    raise AssertionError('no error')",
    ),
    "an error that is not raised": (
        "def half(x):\n    return x // 2\n",
        "try:\n    half(3)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no error')",
    ),
    "own objects": (
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "    def total(self):\n        return self.a + self.b\n    def __len__(self):\n        return 2\n"
        "def largest(pairs):\n    return max(pairs, key=Pair.total)\n",
        "pairs = [Pair(1, 2), Pair(5, 7)]\nassert largest(pairs).total() == 12\n"
        "assert largest(pairs) is pairs[1]\nassert largest(pairs).a == 5\nassert len(pairs[0]) == 2",
    ),
    "a generator and a view": (
        "def upto(n):\n    yield from range(n)\ndef pairs(d):\n    return zip(d, d.values())\n",
        "assert list(upto(3)) == [0, 1, 2]\nassert sorted(upto(3), reverse=True) == [2, 1, 0]\n"
        "assert list(pairs({'a': 1})) == [('a', 1)]\nassert sum(upto(4)) == 6\nassert 2 in upto(3)",
    ),
    "a named tuple": (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\ndef zero():\n"
        "    return Point(0, 0)\n",
        "assert zero() == (0, 0)",
    ),
    "a function called as a built-in": ("def sum(a, b):\n    return a + b\n", "assert sum(10, 15) == 25"),
    "a module that only the program imports": (
        "import math\ndef root(x):\n    return math.sqrt(x)\n",
        "assert math.isclose(root(2), 1.41421356237)",
    ),
    "several functions of the program": (
        "def poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))\ndef zero(xs):\n"
        "    return -xs[0] / xs[1]\n",
        "import math\nassert math.fabs(poly([1, 2], zero([1, 2]))) < 1e-4",
    ),
    "numpy in the tests": (
        "def half(x):\n    return x / 2\n",
        "import numpy as np\nassert np.allclose(half(3), 1.5)",
    ),
    "a name of typing that is not imported": ("def f(x: List[int]):\n    return x\n", "assert f(1) == 1"),
    "annotations as values": (
        "def f(x: int):\n    return isinstance(x, f.__annotations__['x'])\n",
        "def g(x: int):\n    pass\nassert f(1) and g.__annotations__['x'] is int",
    ),
    "exceptions with their type, arguments and attributes": (
        "class Base(Exception):\n    pass\nclass Poor(Base):\n    def __init__(self, a, b):\n"
        "        super().__init__(a, b)\n        self.lacks = b - a\n    def __str__(self):\n"
        "        return 'poor'\n"
        "def fails(n):\n    if n == 0:\n        return b'\\xff'.decode()\n    if n == 1:\n"
        "        return {}['x']\n    if n == 2:\n        raise ValueError('a', (2, [3]))\n"
        "    if n == 3:\n        raise SystemExit(5)\n    if n == 4:\n        open('/no/such')\n"
        "    raise Poor(1, 3)\n",
        "def caught(n, kind):\n    try:\n        fails(n)\n    except kind as error:\n"
        "        return error\n"
        "assert caught(0, UnicodeDecodeError).reason == 'invalid start byte'\nassert caught(0, ValueError)\n"
        "assert str(caught(1, KeyError)) == \"'x'\" and caught(1, LookupError).args == ('x',)\n"
        "assert caught(2, ValueError).args == ('a', (2, [3]))\nassert caught(3, SystemExit).code == 5\n"
        "assert caught(4, FileNotFoundError).errno == 2\nassert caught(5, Base).lacks == 2\n"
        "assert str(caught(5, Poor)) == 'poor' and issubclass(Poor, Base)",
    ),
    "sys.exit is no Exception": (
        "import sys\ndef f(x):\n    sys.exit('no')\n",
        "try:\n    f(1)\nexcept Exception:\n    pass",
    ),
    "the order of views": (
        "def f(d):\n    return d.keys()\ndef g(k):\n    return list(k)\ndef h(d):\n    return d.items()\n",
        "d = {'b': 1, 'a': 2, 'z': 0}\nassert list(f(d)) == ['b', 'a', 'z'] == g(d.keys())\n"
        "assert g(d.values()) == [1, 2, 0] and h(d) == d.items()",
    ),
    "types and iterators as arguments": (
        "def without(t, kind):\n    return [e for e in t if not isinstance(e, kind)]\n"
        "def total(it):\n    return sum(it)\ndef made(kind):\n    return kind()\n"
        "def first(it):\n    return next(it)\n",
        "assert without((4, 5, 7.7, 'a'), int) == [7.7, 'a'] == without((7.7, 'a', b''), bytes)\n"
        "assert total(iter([1, 2])) == 3 == total(x for x in [1, 2]) == total(map(int, '12'))\n"
        "assert made(list) == []\nimport itertools\nendless = itertools.count()\n"
        "assert [first(endless), first(endless), next(endless)] == [0, 1, 2]",
    ),
    "dates and arrays": (
        "import numpy as np\nfrom datetime import timedelta\n"
        "def after(d):\n    return d + timedelta(days=1)\n"
        "def double(a):\n    return 2 * a\ndef grow(a):\n    a += 1\n",
        "from datetime import date, datetime, timedelta\nassert after(date(2020, 1, 1)) == date(2020, 1, 2)\n"
        "assert after(datetime(2020, 1, 1, 5)) == datetime(2020, 1, 2, 5)\n"
        "assert after(timedelta(1)) == timedelta(2)\na = np.array([[1, 2], [3, 4]])\n"
        "assert (double(a) == a + a).all() and double(a).dtype == a.dtype\ngrow(a)\nassert a.sum() == 14",
    ),
    "two objects compared by the program": (
        "from dataclasses import dataclass\n@dataclass(order=True, frozen=True)\nclass P:\n    x: int\n"
        "class Q:\n    pass\n",
        "assert P(1) == P(1) and P(1) != P(2) and P(1) < P(2) and [P(1)] == [P(1)]\n"
        "assert len({P(1), P(1), P(2)}) == 2 and Q() != Q() and isinstance(P(1), P)\n"
        "assert not isinstance(P(1), Q) and sorted([P(2), P(1)])[0].x == 1",
    ),
    "an unequal that equals": (
        "class P:\n    def __init__(self, x):\n        pass\n"
        "    def __eq__(self, other):\n        return True\n",
        "assert P(1) != P(2)",
    ),
    "attributes that the tests set": (
        "class Node:\n    def __init__(self, v):\n        self.v, self.next = v, None\n"
        "def length(n):\n    return 0 if n is None else 1 + length(n.next)\n"
        "class Fixed:\n    'Documented.'\n    @property\n    def b(self):\n        return 1\n"
        "    def __contains__(self, one):\n        return one == 1\n",
        "a = Node(1)\na.next = Node(2)\nassert length(a) == 2 and a.next.v == 2\n"
        "assert length.__name__ == 'length' and Fixed.__doc__ == 'Documented.' and vars(a)['v'] == 1\n"
        "fixed = Fixed()\nassert 1 in fixed and 2 not in fixed\n"
        "try:\n    fixed.b = 5\nexcept AttributeError:\n    pass\nelse:\n    raise AssertionError",
    ),
    "an attribute that does not take a value": (
        "class A:\n    b = property(lambda self: 0, lambda self, value: None)\n",
        "a = A()\na.b = 5\nassert a.b == 5",
    ),
    "kinds of plain types": (
        "from collections import Counter, OrderedDict, defaultdict, namedtuple\n"
        "from enum import IntEnum, Enum\n"
        "P = namedtuple('P', 'x y')\nclass C(IntEnum):\n    R = 1\nclass W(str, Enum):\n    A = 'a'\n"
        "class Stack(list):\n    def push(self, x):\n        self.append(x)\n"
        "def count(x):\n    return Counter(x)\ndef group(d):\n    d['x'].append(1)\n    return d\n"
        "def ordered():\n    return OrderedDict(b=1, a=2)\ndef second(p):\n    return p.y\n",
        "p = P(1, 2)\nassert p.x == 1 and p == (1, 2) and p._asdict() == {'x': 1, 'y': 2}\n"
        "assert second(p) == 2 and isinstance(p, tuple)\n"
        "assert C.R.name == 'R' and C.R == 1 and C(1) is C.R and W.A == 'a' and list(C) == [1]\n"
        "s = Stack()\ns.push(1)\nassert s == [1] and len(s) == 1 and isinstance(s, list) and 1 in s\n"
        "assert count('aab').most_common(1) == [('a', 2)] and count('a') == {'a': 1}\n"
        "assert list(ordered()) == ['b', 'a']\nfrom collections import defaultdict\n"
        "assert group(defaultdict(list)) == {'x': [1]}",
    ),
    "arguments that are returned or changed within": (
        "def same(x):\n    return x\ndef deep(m):\n    m[0].append(2)\n    return m[0]\n"
        "def fails(m):\n    m.append(2)\n    raise ValueError\ndef copied(x):\n    return list(x)\n"
        "def cycle(x):\n    x.append(x)\n",
        "x = [1]\nassert same(x) is x and copied(x) is not x\nr = [1]\n"
        "assert deep(([r],)[0]) is r and r == [1, 2]\n"
        "t = (r,)\ndeep(t)\nassert t == ([1, 2, 2],)\ntry:\n    fails(r)\nexcept ValueError:\n    pass\n"
        "assert r == [1, 2, 2, 2]\ncycle(x)\nassert x[1] is x",
    ),
    "no copy where one is asked for": (
        "def copied(x):\n    return x\n",
        "x = [1]\nassert copied(x) is not x",
    ),
    "a function called as a module, and one as a built-in": (
        "def copy(x):\n    return list(x)\ndef sum(a, b):\n    return a + b\n",
        "assert copy([1]) == [1]\nassert sum(1, 2) == 3",
    ),
    "an object of the tests": (
        "def f(n):\n    n.seen = True\n    return n.val + n.more(1)\n",
        "class N:\n    val = 3\n    def more(self, x):\n        return x\nn = N()\n"
        "assert f(n) == 4 and n.seen is True",
    ),
    "operators, generators and deep lists": (
        "class V:\n    def __init__(self, x):\n        self.x = x\n    def __add__(self, other):\n"
        "        return V(self.x + other.x)\n    def __eq__(self, other):\n        return self.x == other.x\n"
        "def echo():\n    got = yield 1\n    yield got\ndef call(g):\n    return g()\ndef rows(n):\n"
        "    return [[0] * n] * n\ndef same(x):\n    return x\n",
        "assert V(1) + V(2) == V(3) and (V(1) + V(2)).x == 3\n"
        "e = echo()\nassert next(e) == 1 and e.send(5) == 5\n"
        "class T(Exception):\n    pass\ndef g():\n    raise T('x')\ntry:\n    call(g)\nexcept T as error:\n"
        "    assert str(error) == 'x'\nelse:\n    raise AssertionError\n"
        "a = rows(2)\na[0][0] = 1\nassert a == [[1, 0], [1, 0]]\nx = []\n"
        "for _ in range(3000):\n    x = [x]\n"
        "assert same(x) is x and same(int) is int",
    ),
    "printing": ("def order(values):\n    print('passed')\n    return sorted(values)\nprint('{}')\n", SORTED),
}

FORGED = '{"nonce": "%s", "passed": true, "error": ""}'
# None of these computes what the tests ask for.
HOSTILE: dict[str, str] = {
    "ends with 0 at once": "import os\nos._exit(0)\n",
    "ends with 0 when it is called": "import os\ndef order(values):\n    os._exit(0)\n",
    "sys.exit when it is called": "import sys\ndef order(values):\n    sys.exit(0)\n",
    "equals everything": (
        "class Any(list):\n    def __eq__(self, other):\n        return True\n    __ne__ = None\n"
        "def order(values):\n    return Any()\n"
    ),
    "equals everything and is no list": (
        "class Any:\n    def __eq__(self, other):\n        return True\ndef order(values):\n"
        "    return Any()\n"
    ),
    "no assertion fails": (
        "import builtins\nclass Never(Exception):\n    pass\n"
        "builtins.AssertionError = AssertionError = Never\n"
        "def order(values):\n    return None\n"
    ),
    "exit, quit and print are patched": (
        "import builtins, sys\nfor name in ('exit', 'quit', 'print', 'compile', 'exec', 'getattr'):\n"
        "    setattr(builtins, name, lambda *a, **k: None)\nsys.exit = lambda *a: None\n"
        "def order(values):\n    return None\n"
    ),
    "its own check": "def order(values):\n    return None\ndef check(f):\n    pass\n",
    "prints a verdict": (
        "import os\n"
        f"for fd in range(64):\n    try:\n        os.write(fd, {FORGED!r}.encode() + b'\\n')\n"
        "    except OSError:\n        pass\ndef order(values):\n    return None\n"
    ),
    "forges a verdict from what it can read": (
        "import glob, os, re\nfound = ''\n"
        "for place in [*glob.glob('/proc/*/*'), *glob.glob('/out/*'), *glob.glob('/in/*')]:\n"
        "    try:\n        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK)\n"
        "        found += os.read(fd, 100_000).decode('latin1')\n"
        "    except OSError:\n        pass\n"
        "for nonce in re.findall('[0-9a-f]{32}', found):\n    for fd in glob.glob('/proc/*/fd/1'):\n"
        "        try:\n"
        f"            with open(fd, 'w') as file:\n                file.write({FORGED!r} % nonce)\n"
        "        except OSError:\n            pass\ndef order(values):\n    return None\n"
    ),
    "reads the tests": (
        "import glob\ndef order(values):\n    for place in glob.glob('/out/*') + glob.glob('/proc/*/mem'):\n"
        "        try:\n            text = open(place, 'rb').read(10**6)\n"
        "            if b'[1, 2, 3]' in text:\n"
        "                return [[1, 2, 3], []][not values]\n        except OSError:\n            pass\n"
    ),
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n",
    "kills everything": "import os, signal\ndef order(values):\n    os.kill(-1, signal.SIGKILL)\n",
    "forks for ever": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    ),
    "never returns": "def order(values):\n    while True:\n        pass\n",
    "takes all memory": "x = [bytearray(2**26) for _ in range(10_000)]\n",
    "speaks for the other side": (
        "import gc, json\npeer = next(o for o in gc.get_objects() if type(o).__name__ == 'Peer')\n"
        "peer.send({'answer': {'value': True, 'args': []}})\n"
        "peer.send({'nonce': '', 'passed': True})\ndef order(values):\n    return None\n"
    ),
    "makes folders deeper than anybody can walk": (
        "import os, time\nos.chdir('/out')\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"
        "time.sleep(10**6)\n"
    ),
    "a kind of tuple that equals everything": (
        "class Any(tuple):\n    __eq__ = lambda self, other: True\n    __hash__ = None\n"
        "def order(values):\n    return Any()\n"
    ),
    "a class that equals everything": (
        "class Meta(type):\n    __eq__ = lambda self, other: True\n    __hash__ = None\n"
        "class Any(metaclass=Meta):\n    pass\ndef order(values):\n    return Any\n"
    ),
    "ends by SystemExit": "def order(values):\n    raise SystemExit(0)\n",
    "looks into the caller": (
        "import sys\ndef order(values):\n    frame = sys._getframe()\n    while frame:\n"
        "        for name in list(frame.f_globals):\n            if name not in ('__builtins__', 'sys'):\n"
        "                frame.f_globals[name] = lambda *a, **k: [1, 2, 3]\n        frame = frame.f_back\n"
    ),
}
CLOSE = "def check(f):\n    assert abs(f(2) - 1.41421356) < 1e-6\ncheck(root)"
SHADOWS: dict[str, tuple[str, str]] = {
    "a built-in that tests use": ("def abs(x):\n    return 0\ndef root(x):\n    return 7\n", CLOSE),
    "a module that tests use": (
        "class math:\n    isclose = staticmethod(lambda *a: True)\ndef root(x):\n    return 7\n",
        "assert math.isclose(root(2), 1.41421356)",
    ),
    "built-ins of its own": (
        "import gc\npeer = next(o for o in gc.get_objects() if type(o).__name__ == 'Peer')\n"
        "values = {'__builtins__': {'abs': lambda x: 0}, 'root': lambda x: 7, 'abs': lambda x: 0}\n"
        "peer.send({'values': {name: peer.encode(values[name]) for name in values}, 'modules': {}})\n"
        "peer.serve()\n",
        CLOSE,
    ),
    "a built-in that gives the expected value": (
        "def sum(x):\n    return 7\ndef root(x):\n    return 7\n",
        "want = sum([1, 1])\nassert root(4) == want\nassert root(4) == sum([1, 1])",
    ),
    "an end that a test catches": (
        "import os\ndef root(x):\n    os._exit(0)\n",
        "try:\n    root(-1)\nexcept BaseException:\n    pass",
    ),
    "an end before its first call that a test catches": (
        "import os, threading\ndef root(x):\n    return os.kill(os.getpid(), 9)\n",
        "for _ in range(3):\n    try:\n        root(-1)\n    except:\n        pass",
    ),
    "nonsense as an answer": (
        "import gc\npeer = next(o for o in gc.get_objects() if type(o).__name__ == 'Peer')\n"
        "def root(x):\n    peer.send({'answer': {'heap': [['list', 3]], 'value': {'at': 9}}})\n",
        "try:\n    root(-1)\nexcept Exception:\n    pass",
    ),
    "brackets without end as an answer": (
        "import gc\npeer = next(o for o in gc.get_objects() if type(o).__name__ == 'Peer')\n"
        "def root(x):\n    peer._write_to.write(b'[' * 10**5 + b'\\n')\n    peer._write_to.flush()\n",
        "try:\n    root(-1)\nexcept Exception:\n    pass",
    ),
    "contains everything": (
        "class All:\n    __contains__ = lambda self, one: True\ndef root(x):\n    return All()\n",
        "assert 2 in root(4)",
    ),
    "is close to everything": (
        "class Near:\n    __sub__ = __abs__ = __rsub__ = __lt__ = lambda self, *others: 0\n"
        "def root(x):\n    return Near()\n",
        CLOSE,
    ),
    "is less than everything": (
        "class Any:\n    __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: True\n"
        "def root(x):\n    return Any()\n",
        "assert root(4) < 3 and root(4) > 1",
    ),
    "reads the tests through their object": (
        "def root(n):\n    return n.more.__globals__['WANT']\n",
        "WANT = 5\nclass N:\n    def more(self):\n        pass\nassert root(N()) == WANT",
    ),
    "a loop of the tests that it ends": (
        "def root(x):\n    raise StopIteration\n",
        "for got, want in zip(map(root, [4, 9]), [2, 3]):\n    assert got == want",
    ),
}
# What a program tries to do to the machine: its test passes if it succeeds.
ESCAPES: dict[str, str] = {
    "a file of ours can be read": "def done():\n    return bool(open({file!r}).read())\n",
    "our code can be read": f"def done():\n    return bool(open({str(ROOT / 'README.md')!r}).read())\n",
    "a file can be written outside": "def done():\n    return open({file!r} + '.new', 'w').write('x') > 0\n",
    "the network is open": (
        "import socket\ndef done():\n    server = socket.create_server(('127.0.0.1', 0))\n"
        "    socket.create_connection(('1.1.1.1', 53), timeout=2)\n    return True\n"
    ),
    "our environment is seen": (
        "import os\ndef done():\n    return 'TRACKER_SECRET_OF_A_TEST' in os.environ\n"
    ),
    "torch can be imported": "import torch\ndef done():\n    return True\n",
}


def plain_python(program: str, tests: str) -> bool:
    """What `code_eval` finds: whether program and tests run one after the other."""
    try:
        exec(compile(f"{program}\n{tests}", "<plain>", "exec", dont_inherit=True), {})
    except BaseException:  # noqa: BLE001 - whatever a test raises, it failed
        return False
    return True


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Whether each program of this file passes; all of them run at once."""
    os.environ["TRACKER_SECRET_OF_A_TEST"] = "secret"
    file = tmp_path_factory.mktemp("ours") / "secret.txt"
    file.write_text("secret")
    cases = HONEST | {name: (program, SORTED) for name, program in HOSTILE.items()} | SHADOWS
    for name, program in ESCAPES.items():
        cases[name] = (program.replace("{file!r}", repr(str(file))), "assert done()")
    _, results = CodeEval().compute(
        references=[tests for _, tests in cases.values()],
        predictions=[[program] for program, _ in cases.values()],
        timeout=TIMEOUT_S,
    )
    del os.environ["TRACKER_SECRET_OF_A_TEST"]
    return {name: bool(results[number][0][1]["passed"]) for number, name in enumerate(cases)}


@pytest.mark.parametrize("name", HONEST)
def test_code_eval_scores_an_honest_program_as_plain_python(passed: dict[str, bool], name: str) -> None:
    assert passed[name] == plain_python(*HONEST[name])


@pytest.mark.parametrize("name", [*HOSTILE, *SHADOWS])
def test_code_eval_no_program_passes_that_does_not_do_what_the_tests_ask(
    passed: dict[str, bool], name: str
) -> None:
    assert passed["right"]
    assert not passed[name]


@pytest.mark.parametrize("name", ESCAPES)
def test_code_eval_a_program_reaches_nothing_outside_its_sandbox(passed: dict[str, bool], name: str) -> None:
    assert not passed[name]


@pytest.mark.parametrize(("n_total", "n_right", "k"), [(1, 1, 1), (5, 0, 1), (5, 2, 1), (5, 2, 3), (6, 5, 2)])
def test_code_eval_pass_at_k_is_the_share_of_choices_of_k_programs_with_a_right_one(
    n_total: int, n_right: int, k: int
) -> None:
    choices = list(itertools.combinations(range(n_total), k))
    share = sum(any(one < n_right for one in chosen) for chosen in choices) / len(choices)
    assert pass_at(k, n_total=n_total, n_right=n_right) == pytest.approx(share)


def test_code_eval_what_a_killed_run_left_is_deleted_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used, young = (tmp_path / f"{code_eval.PLACE}{name}" for name in ("left", "used", "young"))
    for folder in (left, used, young):
        (folder / "out").mkdir(parents=True)
        (folder / "out" / "job.json").write_text("{}")
    for folder in (left, used):
        os.utime(folder, (0, 0))
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    code_eval._remove_old_places.cache_clear()
    assert code_eval.run_program(RIGHT, SORTED) == ""
    os.close(lock)
    assert sorted(tmp_path.iterdir()) == [used, young]


def test_code_eval_leaves_out_a_k_for_which_there_are_too_few_programs() -> None:
    wrong = "def order(values):\n    return None\n"
    scores, results = CodeEval().compute(
        references=[SORTED], predictions=[[RIGHT, wrong, "order = 1"]], k=[1, 2, 10]
    )
    assert scores == {"pass@1": pytest.approx(1 / 3), "pass@2": pytest.approx(2 / 3)}
    assert [result["passed"] for _, result in results[0]] == [True, False, False]
