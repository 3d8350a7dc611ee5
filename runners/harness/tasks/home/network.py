"""Level 3: undocumented devices on a simulated local network, to be found, probed and understood.

Nothing leaves the process: hosts are objects, and a request is a function call. Each host speaks one of
`PROTOCOLS`, in words and units of its own that are drawn with the home, so that none can be known by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from runners.harness.tasks.home.devices import KINDS, Property
from runners.harness.tasks.home.interface import WAIT, HomeTool, shown
from runners.harness.tasks.home.protocols import PROTOCOLS, Answer, Code
from runners.harness.tasks.home.rest import BODY, METHOD
from runners.harness.tasks.home.world import Done, Entity, World
from runners.harness.tasks.tool_schemas import ToolParameter, ToolResult, error_result

SCAN_S = 5  # of the simulated clock
MOST_PER_HOST = 24  # devices
VENDORS = ("lumo", "qorva", "tessel", "brixo", "novim", "arkade", "zellig", "ommo", "pylar", "vexa", "kiruna",
           "dwelt", "fjord", "hestia", "inkling", "joulet")  # fmt: skip
KEYS: Mapping[str, tuple[str, ...]] = {  # of a property, at one vendor or another
    "power": ("p", "pw", "sw", "act"), "level": ("bri", "lum", "dim"), "volume": ("vol", "gain", "amp"),
    "position": ("pos", "opn", "shut"), "target": ("soll", "tgt", "want_t"),
    "measured": ("ist", "cur", "now_t"),
    "locked": ("lk", "bolt", "sec"), "value": ("v", "val", "rd"), "forecast": ("fc", "next", "tbl"),
    "presence": ("at", "loc", "where"),
}  # fmt: skip
SWITCH: tuple[tuple[Any, Any], ...] = ((True, False), (1, 0), ("on", "off"), ("Y", "N"))


@dataclass(slots=True)
class Host:
    """One device or bridge on the network."""

    address: str
    name: str
    protocol: str
    words: Mapping[str, str]  # its keys for an id and a label
    codes: Mapping[str, Code]  # by its own key
    entities: tuple[str, ...]
    gap_s: int  # a request sooner after the one before is refused
    latest: int = -1_000  # second of the last request
    token: str = ""
    keys: dict[str, str] = field(default_factory=dict)  # its own key by the name of the property

    def rows(self, world: World) -> list[dict[str, Any]]:
        """Its devices in its own words."""
        return [self.row(number, world) for number in range(len(self.entities))]

    def row(self, number: int, world: World) -> dict[str, Any]:
        """One device in its own words."""
        entity = world.entities[self.entities[number]]
        found = {self.words["id"]: number + 1, self.words["label"]: entity.name}
        return found | {key: code.encode(code.one.read(entity)) for key, code in self.codes.items()}

    def set(self, number: Any, key: Any, value: Any, world: World) -> Done:
        """Set one value of a device, in its own words."""
        entity = self._entity(number, world)
        if entity is None:
            return Done("id", "not found")
        if not isinstance(key, str) or key not in self.codes:
            return Done("key", "wrong arguments")
        code = self.codes[key]
        decoded = code.decode(value)
        return (
            Done("value", "wrong arguments")
            if decoded is None
            else world.set_property(entity, code.one, decoded)
        )

    def _entity(self, number: Any, world: World) -> Entity | None:
        text = str(number)
        place = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
        return world.entities[self.entities[place - 1]] if 1 <= place <= len(self.entities) else None


def network_of(world: World, seed: str) -> dict[str, Host]:
    """The hosts of a home, by address; the seed decides how they speak."""
    rng = Random(f"network/{seed}")
    vendors, addresses = rng.sample(VENDORS, len(VENDORS)), rng.sample(range(10, 250), 60)
    hosts = []
    for vendor, kind in zip(
        vendors, dict.fromkeys(one.kind for one in world.entities.values()), strict=False
    ):
        names = [one.entity_id for one in world.entities.values() if one.kind == kind]
        rng.shuffle(names)
        codes = [_code(one, rng) for one in KINDS[kind].properties]
        protocol, words = rng.choice(list(PROTOCOLS)), _words(rng)
        gap_s = rng.choice((0, 0, 3))
        for start in range(0, len(names), MOST_PER_HOST):
            number = addresses.pop()
            hosts.append(
                Host(
                    address=f"192.168.7.{number}",
                    name=f"{vendor}-{number:02x}",
                    protocol=protocol,
                    words=words,
                    codes={one.key: one for one in codes},
                    entities=tuple(names[start : start + MOST_PER_HOST]),
                    gap_s=gap_s,
                    keys={one.one.name: one.key for one in codes},
                )
            )
    return {one.address: one for one in sorted(hosts, key=lambda host: host.address)}


def _words(rng: Random) -> dict[str, str]:
    return {
        "id": rng.choice(("id", "n", "uid")),
        "label": rng.choice(("label", "nm", "title", "t")),
        "base": rng.choice(("/v1/items", "/api/dev", "/things", "/z")),
    }


def _code(one: Property, rng: Random) -> Code:
    """How a vendor writes this property: under which key, in which unit."""
    key = rng.choice(KEYS.get(one.name, (one.name[:3],)))
    if one.type == "switch":
        return Code(key, one, pair=rng.choice(SWITCH))
    if one.type == "number":
        is_inverted = key == "shut"
        return Code(key, one, scale=rng.choice((1.0, 2.55, 10.0)), offset=100.0 if is_inverted else 0.0)
    if one.type == "degrees":
        return Code(key, one, scale=rng.choice((1.0, 10.0, 100.0)))
    return Code(key, one)


def network_tools(world: World, seed: str) -> dict[str, HomeTool]:
    """The tools of this level: they act on one network."""
    hosts = network_of(world, seed)

    def scan(world: World, _: Mapping[str, Any]) -> ToolResult:
        world.advance(SCAN_S)
        return shown([{"ip": one.address, "host": one.name, "port": 80} for one in hosts.values()])

    def request(world: World, arguments: Mapping[str, Any]) -> ToolResult:
        address, slash, path = _without_scheme(arguments["url"]).partition("/")
        host = hosts.get(address.removesuffix(":80")) or _named(hosts.values(), address.removesuffix(":80"))
        if host is None:
            return error_result(f"no answer from {address[:80]}", "not found")
        return _sent(host, world, arguments["method"], slash + path, arguments.get("body", {}))

    found = (
        HomeTool("scan", "Scan the local network for devices.", (), scan),
        HomeTool(
            "request",
            "Send an HTTP request to a device.",
            (METHOD, ToolParameter("url", "string", "such as http://192.168.7.9/"), BODY),
            request,
        ),
        WAIT,
    )
    return {one.name: one for one in found}


def _without_scheme(url: str) -> str:
    return url.strip().removeprefix("http://")


def _named(hosts: Iterable[Host], name: str) -> Host | None:
    return next((one for one in hosts if one.name == name), None)


def _sent(host: Host, world: World, method: str, path: str, body: Mapping[str, Any]) -> ToolResult:
    since, host.latest = world.now - host.latest, world.now
    if since < host.gap_s:
        return _answer((429, {"busy": True, "again_in": host.gap_s}))
    handle: Callable[..., Answer] = PROTOCOLS[host.protocol]
    return _answer(handle(host, world, method, path or "/", body))


def _answer(answer: Answer) -> ToolResult:
    status, body = answer
    content = shown({"status": status, "body": body}).content
    return ToolResult(
        content, None if status < 400 else "refused" if status in (429, 503) else "wrong arguments"
    )
