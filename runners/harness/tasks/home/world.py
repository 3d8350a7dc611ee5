"""A home as a state machine with a clock: devices, people, prices, and everything that was done to them.

The same calls lead to the same states at the same simulated seconds. Nothing here reads the real clock, opens
a file or a socket.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runners.harness.tasks.home.devices import KINDS, Hazard, Property, Service
from runners.harness.tasks.tool_schemas import wrong_arguments

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
LAST_S = 2 * DAY_S  # the clock ends at the second midnight
N_LISTED = 6  # wrong names are answered with so many right ones


@dataclass(slots=True)
class Entity:
    """One thing in the home, named as Home Assistant names it."""

    entity_id: str
    kind: str  # of `KINDS`
    name: str
    area: str
    state: str
    attributes: dict[str, Any]
    changed_at: int = 0

    def value(self, key: str) -> Any:
        """The state, or an attribute."""
        return self.state if key == "state" else self.attributes.get(key)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a device: its first calls fail, or seem to work; a dead one never answers."""

    n_busy: int = 0
    n_silent: int = 0
    is_dead: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A value that changed at a time, in seconds since the first midnight."""

    at: int
    entity_id: str
    key: str
    before: Any
    after: Any
    is_agent: bool


@dataclass(frozen=True, slots=True)
class UnsafeAction:
    """Something that the agent did, or tried to do, and must not."""

    at: int
    entity_id: str
    service: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """How an order to a device ended; `problem` as in `ToolResult`."""

    message: str
    problem: str | None = None


OK = Done("ok")
Event = tuple[
    int, int, str, str, Mapping[str, Any], bool
]  # at, number, entity, service or key, data, is_agent


@dataclass(slots=True)
class World:
    """The home at one second, and how it came to be so."""

    entities: dict[str, Entity]
    now: int  # seconds since the first midnight
    faults: dict[str, Fault] = field(default_factory=dict)
    permitted: frozenset[tuple[str, str]] = frozenset()  # entity and service: sensitive, but asked for
    changes: list[Change] = field(default_factory=list)
    unsafe: list[UnsafeAction] = field(default_factory=list)
    n_orders: dict[str, int] = field(default_factory=dict)  # by entity
    _events: list[Event] = field(default_factory=list)
    _n_events: int = 0

    def find(self, entity_id: str) -> Entity | None:
        """The entity of that id."""
        return self.entities.get(str(entity_id).strip().lower())

    def named(self, text: str) -> Entity | None:
        """The entity of that id or name."""
        name = " ".join(text.casefold().removeprefix("the ").split())
        return self.find(text) or next(
            (one for one in self.entities.values() if one.name.casefold() == name), None
        )

    def order(self, entity_id: str, service: str, data: Mapping[str, Any]) -> Done:
        """Do what the agent asks of a device, whatever it wrote."""
        entity = self.find(entity_id)
        if entity is None:
            return Done(f"there is no entity {str(entity_id)[:80]!r}", "not found")
        known = KINDS[entity.kind].services
        if service not in known:
            names = ", ".join(known) or "none"
            return Done(
                f"{entity.entity_id} has no service {service[:80]!r}; it has: {names}", "wrong arguments"
            )
        if problem := wrong_arguments(data, known[service].parameters):
            return Done(problem, "wrong arguments")
        if problem := known[service].out_of_range(entity, data):
            return Done(problem, "wrong arguments")
        self._watch(entity, known[service], data)
        if failed := self._fault(entity):
            return failed
        self._apply(entity, known[service].effect(entity, data), is_agent=True)
        return OK

    def plan(self, at: int, entity_id: str, service: str, data: Mapping[str, Any], *, is_agent: bool) -> None:
        """Do something at a later time."""
        self._n_events += 1
        heapq.heappush(self._events, (at, self._n_events, entity_id, service, dict(data), is_agent))

    def advance(self, seconds: int) -> None:
        """Let time pass; what is planned happens on the way."""
        self.advance_to(self.now + seconds)

    def advance_to(self, at: int) -> None:
        """Let time pass until then, at most until the clock ends."""
        end = min(at, LAST_S)
        while self._events and self._events[0][0] <= end:
            event = heapq.heappop(self._events)
            self._drift(max(0, event[0] - self.now))
            self.now = max(self.now, event[0])
            self._happen(event)
        self._drift(max(0, end - self.now))
        self.now = max(self.now, end)

    def set_property(self, entity: Entity, one: Property, value: Any) -> Done:
        """Set one property of a device, as its own protocol does."""
        if one.write is None:
            return Done(f"{one.name} is read only", "wrong arguments")
        service, data = one.write(value)
        return self.order(entity.entity_id, service, data)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """What may be set of every entity, by its id."""
        return {
            one.entity_id: {"state": one.state}
            | {key: one.attributes.get(key) for key in KINDS[one.kind].keys}
            for one in self.entities.values()
        }

    def _happen(self, event: Event) -> None:
        _, _, entity_id, service, data, is_agent = event
        if is_agent:
            self.order(entity_id, service, data)
        else:
            self._apply(self.entities[entity_id], data, is_agent=False)

    def _drift(self, seconds: int) -> None:
        if seconds:
            for entity in self.entities.values():
                if drift := KINDS[entity.kind].drift:
                    drift(entity, seconds)

    def _watch(self, entity: Entity, service: Service, data: Mapping[str, Any]) -> None:
        hazard: Hazard | None = KINDS[entity.kind].hazard
        reason = hazard(self, entity, service.name, data) if hazard else None
        if reason is not None and (entity.entity_id, service.name) not in self.permitted:
            self.unsafe.append(UnsafeAction(self.now, entity.entity_id, service.name, reason))

    def _fault(self, entity: Entity) -> Done | None:
        fault = self.faults.get(entity.entity_id)
        if fault is None:
            return None
        number = self.n_orders[entity.entity_id] = self.n_orders.get(entity.entity_id, 0) + 1
        if fault.is_dead:
            return Done("the device does not answer", "refused")
        if number <= fault.n_busy:
            return Done("the device is busy, nothing was changed; try again", "refused")
        return OK if number <= fault.n_busy + fault.n_silent else None

    def _apply(self, entity: Entity, values: Mapping[str, Any], *, is_agent: bool) -> None:
        for key, after in values.items():
            before = entity.value(key)
            if before == after:
                continue
            if key == "state":
                entity.state = str(after)
            else:
                entity.attributes[key] = after
            entity.changed_at = self.now
            self.changes.append(Change(self.now, entity.entity_id, key, before, after, is_agent))


def clock_text(at: int) -> str:
    """A time of the simulated clock as `18:05`, or `18:05 (next day)`."""
    text = f"{at % DAY_S // HOUR_S:02d}:{at % HOUR_S // MINUTE_S:02d}"
    return text if at < DAY_S else f"{text} (next day)"


def parse_clock(text: str, *, now: int) -> int | None:
    """The next time that the clock shows `text` (`HH:MM`); None: it is no such text."""
    hours, colon, minutes = text.strip().partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and hours.isascii() and minutes.isascii()):
        return None
    if len(hours) > 2 or len(minutes) != 2 or int(hours) > 23 or int(minutes) > 59:
        return None
    at = now - now % DAY_S + int(hours) * HOUR_S + int(minutes) * MINUTE_S
    return at if at >= now else at + DAY_S
