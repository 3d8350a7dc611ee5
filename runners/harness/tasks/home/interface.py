"""What the three levels share: tools for an episode, and the passing of simulated time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runners.harness.tasks.home.world import DAY_S, Done, World, clock_text
from runners.harness.tasks.tool_schemas import (
    Schema,
    ToolParameter,
    ToolResult,
    error_result,
    function_schema,
    wrong_arguments,
)

CALL_S = 1  # of the simulated clock, for every call
MOST_CHARACTERS = 12_000  # of a result, as of 200 states; the rest is cut off and told


@dataclass(frozen=True, slots=True)
class HomeTool:
    """One tool: its schema, and what it does with arguments that were checked."""

    name: str
    description: str
    parameters: tuple[ToolParameter, ...]
    run: Callable[[World, Mapping[str, Any]], ToolResult]

    @property
    def schema(self) -> Schema:
        """As chat templates take it."""
        return function_schema(self.name, self.description, self.parameters)


def called(tools: Mapping[str, HomeTool], world: World, name: str, arguments: Any) -> ToolResult:
    """Call a tool; whatever the model wrote, there is a result, and a second has passed."""
    world.advance(CALL_S)
    if name not in tools:
        return error_result(f"there is no tool called {name[:80]}", "unknown tool")
    if problem := wrong_arguments(arguments, tools[name].parameters):
        return error_result(problem, "wrong arguments")
    return tools[name].run(world, arguments)


def told(done: Done) -> ToolResult:
    """The result of an order."""
    return (
        ToolResult(json.dumps({"ok": True}))
        if done.problem is None
        else error_result(done.message, done.problem)
    )


def shown(value: Any) -> ToolResult:
    """A value as a result, cut off where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]} … (cut off; {len(text):,} characters)"
    return ToolResult(text)


def _wait(world: World, arguments: Mapping[str, Any]) -> ToolResult:
    seconds = arguments["seconds"]
    if not 0 < seconds <= DAY_S:
        return error_result(f"seconds must be 1 to {DAY_S}", "wrong arguments")
    world.advance(seconds)
    return shown({"time": clock_text(world.now)})


WAIT = HomeTool(
    "wait",
    "Let time pass, then go on; the clock of the home moves by so many seconds.",
    (ToolParameter("seconds", "integer", f"1 to {DAY_S}"),),
    _wait,
)
