"""Agents for the suite `home`: one that knows how to reach every goal at every level, one at random."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import psutil

from runners.engines import Generation, GenerationRequest
from runners.harness.tasks.home.commands import Order
from runners.harness.tasks.home.devices import KINDS
from runners.harness.tasks.home.levels import HomeEpisode
from runners.harness.tasks.home.network import Host, network_of
from runners.harness.tasks.home.world import DAY_S, World
from tests.doubles.tool_agents import Messages, RuleEngine, hermes
from tracker.records import EngineSettings, Model

Call = tuple[str, dict[str, Any]]
MOST_TRIES = 4
SEED, N_COMMANDS = 20261130, 24  # of each level of the suite
MOST_ANSWERS = 12  # of the solver in one episode, below the limit of every level


def solution_calls(episode: HomeEpisode) -> list[Call]:
    """The calls of documented tools that carry out a command, without waiting."""
    return [(one.service, {"entity_id": one.entity_id} | dict(one.data)) for one in episode.command.solution]


class HomeEngine(RuleEngine):
    """Plans the solution of every command at level `tools`, and unlocks doors twice in some episodes."""

    N_UNSAFE = 3  # commands, of the first 24

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        known = {}
        for number in range(24):
            episode = HomeEpisode("tools", seed=20261130, number=number)
            known[episode.first] = self._answers(episode, is_unsafe=number < self.N_UNSAFE)
        super().__init__(lambda m, _: known[m[0]["content"]] if len(m) == 1 else "Done.", max_model_len=8192)

    def _answers(self, episode: HomeEpisode, *, is_unsafe: bool) -> str:
        calls = []
        for order in episode.command.solution:
            data = {"entity_id": order.entity_id} | dict(order.data)
            at = episode.world.now if order.at is None else order.at
            if order.at is not None:
                time = f"{at % DAY_S // 3600:02d}:{at % 3600 // 60:02d}"
                entity_id = data.pop("entity_id")
                planned = {"time": time, "service": order.service, "entity_id": entity_id, "data": data}
                calls.append(("schedule", planned))
            else:
                calls += [(order.service, data)] * (3 if episode.world.faults else 1)
        lock = {"entity_id": "lock.entrance_door_lock"}
        before = episode.world.entities[lock["entity_id"]].state
        if is_unsafe:
            calls += [("unlock", lock), ("unlock", lock), *([("lock", lock)] if before == "locked" else [])]
        return "\n".join(hermes(*call) for call in calls)


class SolvingHomeEngine(RuleEngine):
    """Carries out every command of the suite at these levels, a few calls an answer; for a real worker.

    With `die_at` in `double.json` beside the weights it kills its worker amid that answer, and leaves the
    ids of the worker's children in `children.json`.
    """

    LEVELS: Sequence[str] = ("tools", "api", "network")

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        answers: dict[str, list[str]] = {}
        for level in self.LEVELS:
            for number in range(N_COMMANDS):
                first, calls = solving_calls(level, SEED, number)
                answers[first] = _spread(calls)

        def rule(messages: Messages, _: Sequence[Any]) -> str:
            place = sum(one["role"] == "assistant" for one in messages)
            known = answers[messages[0]["content"]]
            return known[place] if place < len(known) else "Everything is done."

        super().__init__(rule, max_model_len=1_000_000)
        self.info = replace(self.info, engine="solving-home")
        self.folder = Path(model.path or ".")
        path = self.folder / "double.json"
        self.kills_at = json.loads(path.read_text())["die_at"] if path.is_file() else 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, answer in super().generate(requests):
            if len(self.asked) == self.kills_at:
                children = [one.pid for one in psutil.Process().children(recursive=True)]
                (self.folder / "children.json").write_text(json.dumps(children))
                os.kill(os.getpid(), signal.SIGKILL)
            yield place, answer


def solving_calls(level: str, seed: int, number: int) -> tuple[str, list[Call]]:
    """What a command says first, and every call that `solve` makes for it; the same calls do the same."""
    episode, calls = HomeEpisode(level, seed=seed, number=number), []
    make = episode.call

    def call(name: str, arguments: Any) -> Any:
        calls.append((name, arguments))
        return make(name, arguments)

    episode.call = call  # type: ignore[method-assign]
    first = episode.first
    solve(episode, level, seed, number)
    return first, calls


def _spread(calls: Sequence[Call]) -> list[str]:
    """The calls over at most `MOST_ANSWERS` answers, in order."""
    size = -(-len(calls) // MOST_ANSWERS) or 1
    return [
        "\n".join(hermes(*call) for call in calls[place : place + size])
        for place in range(0, len(calls), size)
    ]


def solve(episode: HomeEpisode, level: str, seed: int, number: int) -> None:
    """Carry out the solution of a command through the tools of its level, and check each order."""
    speak = SPEAKERS[level](f"{level}/{seed}/{number}", episode)
    for order in episode.command.solution:
        if order.at is not None and order.at > episode.world.now:
            episode.call("wait", {"seconds": order.at - episode.world.now})
        for _ in range(MOST_TRIES):
            for name, arguments in speak(order):
                result = episode.call(name, arguments)
                if "again_in" in result.content:
                    episode.call("wait", {"seconds": json.loads(result.content)["body"]["again_in"]})
                    episode.call(name, arguments)
            if _is_done(episode.world, order):
                break


def _is_done(world: World, order: Order) -> bool:
    entity = world.entities[order.entity_id]
    wanted = KINDS[entity.kind].services[order.service].effect(entity, order.data)
    return all(entity.value(key) == value for key, value in wanted.items())


def _by_tools(_: str, episode: HomeEpisode) -> Callable[[Order], list[Call]]:
    return lambda order: [(order.service, {"entity_id": order.entity_id} | dict(order.data))]


def _by_api(_: str, episode: HomeEpisode) -> Callable[[Order], list[Call]]:
    def speak(order: Order) -> list[Call]:
        domain = order.entity_id.partition(".")[0]
        body = {"entity_id": order.entity_id} | dict(order.data)
        return [
            ("request", {"method": "POST", "path": f"/api/services/{domain}/{order.service}", "body": body})
        ]

    return speak


def _on_network(seed: str, episode: HomeEpisode) -> Callable[[Order], list[Call]]:
    episode.call("scan", {})
    hosts = network_of(episode.command.world, seed)

    def speak(order: Order) -> list[Call]:
        host = next(one for one in hosts.values() if order.entity_id in one.entities)
        number = host.entities.index(order.entity_id) + 1
        return [
            ("request", {"method": method, "url": f"http://{host.address}{path}", "body": body})
            for key, value in _said(host, order, episode.world)
            for method, path, body in DIALECTS[host.protocol](host, number, key, value)
        ]

    return speak


def _said(host: Host, order: Order, world: World) -> Iterator[tuple[str, Any]]:
    """An order as values in the words of a host."""
    entity = world.entities[order.entity_id]
    effect = KINDS[entity.kind].services[order.service].effect(entity, order.data)
    numbers = {"brightness": ("level", 1 / 2.55), "temperature": ("target", 1.0),
               "current_position": ("position", 1.0), "volume_level": ("volume", 100.0)}  # fmt: skip
    for key, value in effect.items():
        if (key in numbers and order.data) or key == "current_position":
            name, scale = numbers[key]
            own = host.keys[name]
            yield (
                own,
                host.codes[own].encode(round(value * scale, 1) if name == "target" else round(value * scale)),
            )
        elif key == "state" and "power" in host.keys and not (order.data and value == "on"):
            yield host.keys["power"], host.codes[host.keys["power"]].encode(value == "on")
        elif key == "state" and "locked" in host.keys:
            yield host.keys["locked"], host.codes[host.keys["locked"]].encode(value == "locked")


Sent = tuple[str, str, dict[str, Any]]


def _rest(host: Host, number: int, key: str, value: Any) -> list[Sent]:
    return [("PUT", f"{host.words['base']}/{number}", {key: value})]


def _rpc(host: Host, number: int, key: str, value: Any) -> list[Sent]:
    return [("POST", "/rpc", {"op": "wr", host.words["id"]: number, "key": key, "val": value})]


def _text(host: Host, number: int, key: str, value: Any) -> list[Sent]:
    return [("GET", f"/s/{number}/{key}/{str(value).lower() if isinstance(value, bool) else value}", {})]


def _session(host: Host, number: int, key: str, value: Any) -> list[Sent]:
    token = f"k{sum(map(ord, host.name)) * 7919 % 10_000:04d}"
    return [
        ("POST", "/open", {}),
        ("POST", "/do", {"tok": token, host.words["id"]: number, "set": {key: value}}),
    ]


DIALECTS = {"rest": _rest, "rpc": _rpc, "text": _text, "session": _session}
SPEAKERS: Mapping[str, Callable[[str, HomeEpisode], Callable[[Order], list[Call]]]] = {
    "tools": _by_tools,
    "api": _by_api,
    "network": _on_network,
}


def at_random(episode: HomeEpisode, rng: Random) -> None:
    """A few calls of any tool with arguments that its schema allows, at entities and hosts that there are."""
    hosts = (
        [one["ip"] for one in json.loads(episode.call("scan", {}).content)]
        if "scan" in _names(episode)
        else []
    )
    for _ in range(rng.randrange(1, 5)):
        function = rng.choice(episode.tools)["function"]
        arguments = {
            name: _anything(name, schema, episode, hosts, rng)
            for name, schema in function["parameters"]["properties"].items()
            if name in function["parameters"]["required"] or rng.random() < 0.5
        }
        episode.call(function["name"], arguments)


def _names(episode: HomeEpisode) -> list[str]:
    return [one["function"]["name"] for one in episode.tools]


def _anything(
    name: str, schema: Mapping[str, Any], episode: HomeEpisode, hosts: list[str], rng: Random
) -> Any:
    entity_id = rng.choice(list(episode.world.entities))
    if name == "path":
        service = rng.choice(("turn_on", "turn_off", "set_temperature", "lock"))
        return f"/api/services/{entity_id.partition('.')[0]}/{service}"
    if name == "url":
        return f"http://{rng.choice(hosts)}{rng.choice(('/', '/z/1', '/rpc', '/l', '/s/1/p/1', '/do'))}"
    if schema["type"] == "object":
        return rng.choice(
            ({"entity_id": entity_id}, {"p": 1}, {"op": "ls"}, {"entity_id": entity_id, "temperature": 21})
        )
    if schema["type"] in ("number", "integer"):
        return rng.randrange(1, 100)
    return rng.choice(schema.get("enum") or [entity_id, "18:00", "kitchen", "light", "states"])
