"""How the undocumented devices of level 3 speak: each protocol is one function, and each has its quirks.

Every error leads on a little, as those of real devices do, and none says all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from runners.harness.tasks.home.devices import Property
from runners.harness.tasks.home.world import Done

if TYPE_CHECKING:
    from runners.harness.tasks.home.network import Host
    from runners.harness.tasks.home.world import World

Answer = tuple[int, Any]  # status and body
Body = Mapping[str, Any]
STATUS = {None: 200, "refused": 503, "not found": 404, "wrong arguments": 400}


@dataclass(frozen=True, slots=True)
class Code:
    """How a device writes one property: `pair` for on and off, else a number times `scale`."""

    key: str
    one: Property
    pair: tuple[Any, Any] | None = None
    scale: float | None = None
    offset: float = 0.0  # 100: a share of what is closed, not open

    def encode(self, value: Any) -> Any:
        """The value as the device shows it."""
        if self.pair is not None:
            return self.pair[0] if value else self.pair[1]
        if self.scale is None:
            return value
        number = (self.offset - value if self.offset else value) * self.scale
        return round(number) if self.one.type == "number" else round(number, 1)

    def decode(self, value: Any) -> Any:
        """The value that the device is told; None: it is not one that it takes."""
        if self.pair is not None:
            return next((not n for n, one in enumerate(self.pair) if _said(one) == _said(value)), None)
        if self.scale is None:
            return None
        try:
            number = float(value) / self.scale
        except (TypeError, ValueError, OverflowError):
            return None
        if not math.isfinite(number):
            return None
        number = self.offset - number if self.offset else number
        return round(number) if self.one.type == "number" else round(number, 2)


def _rest(host: Host, world: World, method: str, path: str, body: Body) -> Answer:
    """Resources under a base path that the root tells."""
    base = host.words["base"]
    if path == "/":
        return 200, {"dev": host.name, "see": base}
    if path.rstrip("/") == base:
        return (200, {"items": host.rows(world)}) if method == "GET" else (405, {"allow": "GET"})
    number = path.removeprefix(f"{base}/")
    return (404, {"err": "path"}) if number == path else _rest_item(host, world, method, number, body)


def _rest_item(host: Host, world: World, method: str, number: str, body: Body) -> Answer:
    if method == "GET":
        rows = {str(row[host.words["id"]]): row for row in host.rows(world)}
        return (200, rows[number]) if number in rows else (404, {"err": "id"})
    if method != "PUT":
        return 405, {"allow": ["GET", "PUT"]}
    if not body:
        return 400, {"err": "empty", "keys": list(host.codes)}
    return _ended([host.set(number, key, value, world) for key, value in body.items()], {"ok": 1})


def _rpc(host: Host, world: World, method: str, path: str, body: Body) -> Answer:
    """One path, one operation per request, and rows without keys."""
    if method != "POST" or path.rstrip("/") != "/rpc":
        return 405, {"err": "POST /rpc"}
    match body.get("op"):
        case "ls":
            rows = host.rows(world)
            return 200, {"cols": list(rows[0]), "rows": [list(one.values()) for one in rows]}
        case "wr":
            if missing := [key for key in (host.words["id"], "key", "val") if key not in body]:
                return 400, {"err": f"need {', '.join(missing)}"}
            done = host.set(body[host.words["id"]], body["key"], body["val"], world)
            return _ended([done], {"rc": 0})
    return 400, {"err": "op", "ops": ["ls", "wr"]}


def _text(host: Host, world: World, method: str, path: str, body: Body) -> Answer:
    """Lines of text, and orders in the path."""
    steps = [unquote(one) for one in path.split("/") if one]
    if steps == ["l"]:
        lines = []
        for row in host.rows(world):
            number, label, *values = row.items()
            lines.append(
                "|".join([str(number[1]), str(label[1]), *(f"{key}={_said(one)}" for key, one in values)])
            )
        return 200, "\n".join(lines)
    if steps[:1] == ["s"] and len(steps) == 4:
        return _ended([host.set(steps[1], steps[2], steps[3], world)], "OK")
    if steps[:1] == ["s"]:
        return 400, "E2 s/ID/KEY/VALUE"
    return (200, f"{host.name} ready. l=list s=set") if not steps else (404, "E1 l s")


def _session(host: Host, world: World, method: str, path: str, body: Body) -> Answer:
    """A token that must be fetched first and sent with every request."""
    if method != "POST":
        return 401, {"err": "no session", "hint": "POST /open"}
    step = path.strip("/")
    if step == "open":
        host.token = f"k{sum(map(ord, host.name)) * 7919 % 10_000:04d}"
        return 200, {"tok": host.token, "next": ["/all", "/do"]}
    if not host.token or body.get("tok") != host.token:
        return 401, {"err": "tok", "hint": "POST /open"}
    if step == "do":
        return _session_orders(host, world, body)
    return (
        (200, {"all": host.rows(world)}) if step == "all" else (404, {"err": "path", "next": ["/all", "/do"]})
    )


def _session_orders(host: Host, world: World, body: Body) -> Answer:
    number, wanted = body.get(host.words["id"]), body.get("set")
    if number is None or not isinstance(wanted, Mapping) or not wanted:
        return 400, {"err": "shape", "like": {"tok": "", host.words["id"]: 0, "set": {"KEY": "VALUE"}}}
    return _ended([host.set(number, key, value, world) for key, value in wanted.items()], {"done": True})


def _ended(done: list[Done], fine: Any) -> Answer:
    """The answer to orders of which the first that failed counts."""
    failed = next((one for one in done if one.problem is not None), None)
    return (200, fine) if failed is None else (STATUS[failed.problem], {"err": failed.message})


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


PROTOCOLS: Mapping[str, Callable[[Host, World, str, str, Body], Answer]] = {
    "rest": _rest,
    "rpc": _rpc,
    "text": _text,
    "session": _session,
}
