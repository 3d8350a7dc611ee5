"""The kinds of requests: each drawn from a seed, with the calls that fulfil it.

Chance is 0 in every kind: a model that calls nothing, or at random, does not reach the goal, since ids, names
and titles are drawn. The ceiling is 1: the calls in `solution` reach it, which the tests show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

from runners.harness.episodes import LIMITS
from runners.harness.tasks.tool_schemas import Schema, ToolResult
from runners.harness.tasks.tools.world import (
    CODES,
    COLORS,
    DAYS,
    FIND,
    LEVELS,
    NOUNS,
    VERBS,
    Faults,
    Record,
    World,
    tool_name,
    tool_schema,
)

PEOPLE = (
    "Ada", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karla", "Leo",
    "Marta", "Nils", "Olga", "Paul", "Rosa", "Simon", "Tara", "Viktor",
)  # fmt: skip
FIRST = (
    "Amber", "Bright", "Calm", "Distant", "Early", "Frozen", "Golden", "Hidden", "Inner", "Jade", "Late",
    "Mild", "Narrow", "Open", "Pale", "Quiet", "Rapid", "Silver", "Tall", "Young",
)  # fmt: skip
SECOND = (
    "Anchor", "Bridge", "Canal", "Desert", "Engine", "Forest", "Garden", "Harbor", "Island", "Journey",
    "Kettle", "Lantern", "Meadow", "Needle", "Orchard", "Pepper", "River", "Summit", "Tunnel", "Window",
)  # fmt: skip
FOLDERS = ("Archive", "Drafts", "Finance", "Legal", "Press", "Projects", "Sales", "Travel", "Training", "Old")
CHANGES = tuple(
    tool_name(verb, noun) for noun in NOUNS for verb in VERBS
)  # every tool that changes something
N_RECORDS = 4  # of each kind that a request names
# What a person says who leaves out an argument, and what the same person adds when asked.
LEFT_OUT = {
    "share": ("share the {noun} {id} with somebody else", "With {person}."),
    "move": ("move the {noun} {id} to another folder", 'To the folder "{folder}".'),
    "rename": ("give the {noun} {id} another title", 'Call it "{title}".'),
    "plan": ("plan the review of the {noun} {id}", "On {day} at {hour} o'clock."),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Stands for a value in the result of an earlier call: its place among the calls, and its field."""

    place: int
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a solution, or with no tool a question to the person."""

    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One drawn request: what is said, which tools there are, the world, and the calls that fulfil it."""

    kind: str
    level: int  # 1: easy
    text: str
    tools: tuple[str, ...]
    records: Mapping[str, Mapping[str, Record]]
    solution: tuple[Step, ...]
    replies: tuple[str, ...] = ()  # what the person says when the model answers without a call
    faults: Faults = field(default_factory=Faults)

    def world(self) -> World:
        """The world before the first call."""
        records = {noun: {key: dict(one) for key, one in some.items()} for noun, some in self.records.items()}
        return World(records, self.faults)

    def schemas(self) -> list[Schema]:
        """The tools as chat templates take them."""
        return [tool_schema(name, faults=self.faults) for name in self.tools]

    def goal(self) -> Any:
        """The state of the world after the solution."""
        return played(self, self.solution).state()

    def digest(self) -> str:
        """Hash of everything in the request, 16 hex digits."""
        parts = (self.text, self.tools, self.records, repr(self.solution), self.replies, repr(self.faults))
        whole = json.dumps([*parts, self.schemas()], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def played(request: ToolRequest, steps: Sequence[Step]) -> World:
    """The world after these calls."""
    world, results = request.world(), list[dict[str, Any]]()
    for step in steps:
        if step.tool is not None:
            result = world.call(step.tool, filled(step.arguments, results), offered=request.tools)
            results.append(json.loads(result.content))
    return world


def filled(arguments: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments with the values found by earlier calls."""
    return {
        name: results[value.place][value.name] if isinstance(value, Found) else value
        for name, value in arguments.items()
    }


class Draw:
    """Draws the parts of one request."""

    def __init__(self, seed: str) -> None:
        """Two draws with the same seed are the same; a text seed is hashed with sha512 on every Python."""
        self.chance = Random(seed)
        self.records: dict[str, dict[str, Record]] = {}
        self._titles = [f"{one} {two}" for one in FIRST for two in SECOND]
        self.chance.shuffle(self._titles)
        self._ids = self.chance.sample(range(1000, 10_000), 400)

    def nouns(self, n: int) -> list[str]:
        """Different kinds of records, which the world then has."""
        found = self.chance.sample(NOUNS, n)
        for noun in found:
            self.fill(noun)
        return found

    def fill(self, noun: str) -> None:
        """Put records of this kind into the world."""
        self.records[noun] = {self._id(noun): self._record() for _ in range(N_RECORDS)}

    def record(self, noun: str) -> tuple[str, Record]:
        """One record of a kind, with its id."""
        return self.chance.choice(list(self.records[noun].items()))

    def arguments(self, verb: str) -> dict[str, Any]:
        """The arguments of a verb, without the id."""
        values: dict[str, Callable[[], Any]] = {
            "person": lambda: self.chance.choice(PEOPLE),
            "folder": lambda: self.chance.choice(FOLDERS),
            "title": self.title,
            "level": lambda: self.chance.choice(LEVELS),
            "color": lambda: self.chance.choice(COLORS),
            "day": lambda: self.chance.choice(DAYS),
            "hour": lambda: self.chance.randint(8, 18),
            "copies": lambda: self.chance.randint(2, 60),
        }
        return {one.name: values[one.name]() for one in VERBS[verb].parameters}

    def title(self) -> str:
        """A title that nothing else has."""
        return self._titles.pop()

    def tools(self, *needed: str, n: int, without: Sequence[str] = ()) -> tuple[str, ...]:
        """`n` tools in any order, the needed ones among them."""
        others = [name for name in CHANGES if name not in needed and name not in without]
        found = [*dict.fromkeys(needed), *self.chance.sample(others, max(0, n - len(set(needed))))]
        self.chance.shuffle(found)
        return tuple(found)

    def _id(self, noun: str) -> str:
        return f"{noun[0].upper()}{self._ids.pop()}"

    def _record(self) -> Record:
        return {
            "title": self.title(),
            "owner": self.chance.choice(PEOPLE),
            "priority": self.chance.choice(LEVELS),
        }


def asked(verb: str, noun: str, key: str, arguments: Mapping[str, Any]) -> str:
    """A request for one change, as a person says it."""
    return VERBS[verb].asked.format(noun=noun, id=key, **arguments)


def sentences(*parts: str) -> str:
    """The parts as sentences."""
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)


def _single(draw: Draw, level: int) -> dict[str, Any]:
    verbs = (("archive", "share", "label"), ("share", "move", "rename", "prioritize"), ("plan", "print"))
    verb, (noun,) = draw.chance.choice(verbs[level - 1]), draw.nouns(1)
    key, _ = draw.record(noun)
    arguments = draw.arguments(verb)
    name = tool_name(verb, noun)
    return {
        "text": sentences(asked(verb, noun, key, arguments)),
        "tools": draw.tools(name, n=(1, 3, 6)[level - 1]),
        "solution": (Step(name, {"id": key} | arguments),),
    }


def _parallel(draw: Draw, level: int) -> dict[str, Any]:
    n = level + 1
    verbs, nouns = draw.chance.sample(list(VERBS), n), draw.nouns(n)
    said, steps = [], []
    for verb, noun in zip(verbs, nouns, strict=True):
        key, _ = draw.record(noun)
        arguments = draw.arguments(verb)
        said.append(asked(verb, noun, key, arguments))
        steps.append(Step(tool_name(verb, noun), {"id": key} | arguments))
    return {
        "text": sentences(*said),
        "tools": draw.tools(*(str(step.tool) for step in steps), n=n + 2),
        "solution": tuple(steps),
    }


def _found_step(draw: Draw, noun: str) -> tuple[str, Record, Step]:
    """A record that is named by its title, and the call that finds it."""
    key, record = draw.record(noun)
    return key, record, Step(tool_name(FIND, noun), {"title": record["title"]})


def _nested(draw: Draw, level: int) -> dict[str, Any]:
    noun, other = draw.nouns(2)
    _, record, find = _found_step(draw, noun)
    _, second, find_other = _found_step(draw, other)
    share, set_level = tool_name("share", noun), tool_name("prioritize", noun)
    archive = tool_name("archive", noun)
    this, that = f'the {noun} "{record["title"]}"', f'the {other} "{second["title"]}"'
    shared = Step(share, {"id": Found(0, "id"), "person": Found(1, "owner")})
    if level == 1:
        person = draw.chance.choice(PEOPLE)
        return {
            "text": sentences(f"share {this} with {person}"),
            "tools": draw.tools(str(find.tool), share, n=3),
            "solution": (find, Step(share, {"id": Found(0, "id"), "person": person})),
        }
    if level == 2:
        return {
            "text": sentences(f"share {this} with the owner of {that}"),
            "tools": draw.tools(str(find.tool), str(find_other.tool), share, n=5),
            "solution": (find, find_other, shared),
        }
    tools = draw.tools(str(find.tool), str(find_other.tool), share, set_level, archive, n=8)
    if level == 3:
        same = Step(set_level, {"id": Found(0, "id"), "level": Found(1, "priority")})
        text = sentences(f"share {this} with the owner of {that}", "then give it the same priority")
        return {"text": text.replace("it the", f"{this} the"), "tools": tools,
                "solution": (find, find_other, shared, same)}  # fmt: skip
    is_high = second["priority"] == "high"
    said = f"if the priority of {that} is high, share {this} with its owner, else archive {this}"
    said = said.replace("its owner", f"the owner of {that}")
    then = shared if is_high else Step(archive, {"id": Found(0, "id")})
    return {"text": sentences(said), "tools": tools, "solution": (find, find_other, then)}


def _missing(draw: Draw, level: int) -> dict[str, Any]:
    verb = draw.chance.choice(list(LEFT_OUT))
    noun, other = draw.nouns(2)
    key, _ = draw.record(noun)
    arguments = draw.arguments(verb)
    name = tool_name(verb, noun)
    said, reply = LEFT_OUT[verb]
    parts, steps, needed = (
        [said.format(noun=noun, id=key)],
        [Step(), Step(name, {"id": key} | arguments)],
        [name],
    )
    if level == 3:
        second, more = draw.chance.choice(list(VERBS)), draw.record(other)[0]
        given = draw.arguments(second)
        parts.insert(0, asked(second, other, more, given))
        steps.insert(0, Step(tool_name(second, other), {"id": more} | given))
        needed.append(tool_name(second, other))
    return {
        "text": sentences(*parts),
        "tools": draw.tools(*needed, n=(1, 4, 6)[level - 1]),
        "solution": tuple(steps),
        "replies": (reply.format(**arguments),),
    }


def _refusal(draw: Draw, level: int) -> dict[str, Any]:
    (verb, absent), (noun, other) = draw.chance.sample(list(VERBS), 2), draw.nouns(2)
    key, more = draw.record(noun)[0], draw.record(other)[0]
    arguments, given = draw.arguments(verb), draw.arguments(absent)
    name, lacking = tool_name(verb, noun), tool_name(absent, other)
    # near ones: what the absent tool does, for another kind of records, and other things for its own kind
    near = [tool_name(absent, noun), tool_name(verb, other)]
    parts = [asked(verb, noun, key, arguments), asked(absent, other, more, given)]
    draw.chance.shuffle(parts)
    return {
        "text": sentences(*parts) + " If there is no tool for something, leave it.",
        "tools": draw.tools(name, *near[: level - 1], n=(2, 5, 9)[level - 1], without=(lacking,)),
        "solution": (Step(name, {"id": key} | arguments),),
    }


def _wrong_result(draw: Draw, level: int) -> dict[str, Any]:
    noun, *_ = draw.nouns(2)
    _, record, find = _found_step(draw, noun)
    verb = draw.chance.choice(("share", "archive", "label", "print"))
    arguments = draw.arguments(verb)
    name = tool_name(verb, noun)
    n_wrong = 1 if level < 3 else 2
    if level > 1:  # the wrong one has nearly the same title
        others = [one for one in draw.records[noun].values() if one is not record]
        first, _, last = record["title"].partition(" ")
        others[0]["title"] = f"{first} {next(word for word in SECOND if word[0] != last[0])}"
    shown = asked(verb, noun, f'"{record["title"]}"', arguments)
    return {
        "text": sentences(shown),
        "tools": draw.tools(str(find.tool), name, n=(2, 4, 6)[level - 1]),
        "solution": (
            *(find for _ in range(n_wrong + 1)),
            Step(name, {"id": Found(n_wrong, "id")} | arguments),
        ),
        "faults": Faults(n_wrong=n_wrong),
    }


def _recover(draw: Draw, level: int) -> dict[str, Any]:
    (noun,) = draw.nouns(1)
    key, _ = draw.record(noun)
    verb = "prioritize" if level == 3 else draw.chance.choice(("share", "move", "label", "print"))
    arguments = draw.arguments(verb)
    name = tool_name(verb, noun)
    first = Step(name, {"id": key} | arguments)
    more: dict[str, Any] = {"id": key} | arguments
    if level == 1:
        faults = Faults(n_busy=1)
    elif level == 2:
        faults, more = Faults(ids_with_noun=True), more | {"id": f"{noun}:{key}"}
    else:
        faults, more = Faults(level_codes=True), more | {"level": CODES[arguments["level"]]}
    return {
        "text": sentences(asked(verb, noun, key, arguments)),
        "tools": draw.tools(name, n=(1, 3, 3)[level - 1]),
        "solution": (first, Step(name, more)),
        "faults": faults,
    }


def _many(n_tools: int) -> Callable[[Draw, int], dict[str, Any]]:
    """One change with so many tools; the list is the same for all requests, so that it is read once."""

    def drawn(draw: Draw, level: int) -> dict[str, Any]:
        tools = tuple(Random(f"tools/{n_tools}").sample(CHANGES, n_tools))
        name = draw.chance.choice(tools)
        verb, _, noun = name.partition("_")
        draw.fill(noun)
        key, _ = draw.record(noun)
        arguments = draw.arguments(verb)
        step = Step(name, {"id": key} | arguments)
        return {"text": sentences(asked(verb, noun, key, arguments)), "tools": tools, "solution": (step,)}

    return drawn


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of requests, with its levels of difficulty."""

    n_levels: int
    draw: Callable[[Draw, int], dict[str, Any]]


KINDS: Mapping[str, Kind] = {
    "single": Kind(3, _single),
    "parallel": Kind(3, _parallel),
    "nested": Kind(4, _nested),
    "missing": Kind(3, _missing),
    "refusal": Kind(3, _refusal),
    "wrong_result": Kind(3, _wrong_result),
    "recover": Kind(3, _recover),
    "many_10": Kind(1, _many(10)),
    "many_50": Kind(1, _many(50)),
    "many_200": Kind(1, _many(200)),
}


@lru_cache(maxsize=4096)
def tool_request(kind: str, *, seed: int, number: int) -> ToolRequest:
    """The request of that kind and number; the levels come in turn, so that the first few cover all."""
    level = number % KINDS[kind].n_levels + 1
    draw = Draw(f"{kind}/{seed}/{number}")
    parts = KINDS[kind].draw(draw, level)
    return ToolRequest(kind=kind, level=level, records=draw.records, **parts)


class ToolEpisode:
    """One request being worked on; see `runners.harness.episodes.Episode`."""

    limits = LIMITS

    def __init__(self, request: ToolRequest) -> None:
        """Begin with an untouched world."""
        self.request, self.world = request, request.world()
        self.tools = request.schemas()
        self.first = request.text
        self._replies = list(request.replies)

    def call(self, name: str, arguments: Any) -> ToolResult:
        """Call a tool."""
        return self.world.call(name, arguments, offered=self.request.tools)

    def reply(self) -> str | None:
        """What the person says to an answer without a call; None: nothing more."""
        return self._replies.pop(0) if self._replies else None

    def report(self) -> None:
        """Nothing: the calls tell what happened."""

    @property
    def is_solved(self) -> bool:
        """Whether the world is as it should be."""
        return bool(self.world.state() == self.request.goal())
