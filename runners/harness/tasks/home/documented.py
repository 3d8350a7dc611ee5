"""Level 1: one documented tool per service, one that lists, one that reads, and one that plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runners.harness.tasks.home.devices import KINDS, Service
from runners.harness.tasks.home.interface import WAIT, HomeTool, shown, told
from runners.harness.tasks.home.rest import state_of
from runners.harness.tasks.home.world import World, clock_text, parse_clock
from runners.harness.tasks.tool_schemas import ToolParameter, ToolResult, error_result, wrong_arguments

ENTITY = ToolParameter("entity_id", "string", "id or name of the entity")


def documented_tools(world: World) -> dict[str, HomeTool]:
    """The tools for the services that this home has."""
    services: dict[str, Service] = {}
    for entity in world.entities.values():
        services |= {name: one for name, one in KINDS[entity.kind].services.items() if name not in services}
    orders = [_service_tool(name, one, world) for name, one in sorted(services.items())]
    found = [LIST, GET, *orders, _plan(services), WAIT]
    return {one.name: one for one in found}


def _list(world: World, arguments: Mapping[str, Any]) -> ToolResult:
    area, domain = str(arguments.get("area", "")).lower().strip(), arguments.get("domain", "")
    found = {
        one.entity_id: one.state
        for one in world.entities.values()
        if area in one.area.lower() and one.entity_id.startswith(domain)
    }
    return shown({"time": clock_text(world.now), "entities": found})


def _get(world: World, arguments: Mapping[str, Any]) -> ToolResult:
    entity = world.named(arguments["entity_id"])
    return _unknown(arguments) if entity is None else shown(state_of(entity))


def _unknown(arguments: Mapping[str, Any]) -> ToolResult:
    return error_result(f"there is no entity {arguments['entity_id'][:80]!r}", "not found")


LIST = HomeTool(
    "list_entities",
    "List entities with their states.",
    (
        ToolParameter("area", "string", "only of this room", is_optional=True),
        ToolParameter(
            "domain", "string", "only of this domain, such as light, climate, cover", is_optional=True
        ),
    ),
    _list,
)
GET = HomeTool("get_state", "State and attributes of an entity.", (ENTITY,), _get)


def _service_tool(name: str, service: Service, world: World) -> HomeTool:
    """A service as a tool; where several kinds have it, it takes the arguments of all."""
    parameters = {
        one.name: one
        for kind in dict.fromkeys(entity.kind for entity in world.entities.values())
        if name in KINDS[kind].services
        for one in KINDS[kind].services[name].parameters
    }
    several = sum(name in KINDS[kind].services for kind in {one.kind for one in world.entities.values()}) > 1
    description = name.replace("_", " ").capitalize() + " an entity." if several else service.description

    def run(world: World, arguments: Mapping[str, Any]) -> ToolResult:
        entity = world.named(arguments[ENTITY.name])
        if entity is None:
            return _unknown(arguments)
        data = {key: value for key, value in arguments.items() if key != ENTITY.name}
        return told(world.order(entity.entity_id, name, data))

    return HomeTool(name, description, (ENTITY, *parameters.values()), run)


def _plan(services: Mapping[str, Service]) -> HomeTool:
    run: Callable[[World, Mapping[str, Any]], ToolResult] = _planned
    return HomeTool(
        "schedule",
        "Call a service later.",
        (
            ToolParameter("time", "string", "HH:MM"),
            ToolParameter("service", "string", "the service", tuple(sorted(services))),
            ENTITY,
            ToolParameter("data", "object", "the other arguments", is_optional=True),
        ),
        run,
    )


def _planned(world: World, arguments: Mapping[str, Any]) -> ToolResult:
    at, entity = parse_clock(arguments["time"], now=world.now), world.named(arguments["entity_id"])
    if at is None:
        return error_result("time must be HH:MM", "wrong arguments")
    if entity is None:
        return _unknown(arguments)
    service, data = KINDS[entity.kind].services.get(arguments["service"]), arguments.get("data", {})
    if service is None:
        return error_result(f"{entity.entity_id} has no service {arguments['service']}", "wrong arguments")
    problem = wrong_arguments(data, service.parameters) or service.out_of_range(entity, data)
    if problem:
        return error_result(problem, "wrong arguments")
    world.plan(at, entity.entity_id, service.name, data, is_agent=True)
    return shown({"ok": True, "at": clock_text(at)})
