"""Level 2: an API in the shapes of Home Assistant's REST API, with its documentation to read.

Paths, states and errors are those of https://developers.home-assistant.io/docs/api/rest/, so that an agent
for this level can be pointed at a real one. Two parameters that a real one ignores, `domain` and `area`,
shorten the list of states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from runners.harness.tasks.home.devices import KINDS
from runners.harness.tasks.home.interface import WAIT, HomeTool, shown
from runners.harness.tasks.home.world import DAY_S, HOUR_S, MINUTE_S, Entity, World
from runners.harness.tasks.tool_schemas import ToolParameter, ToolResult, error_result

DATE = "2026-11-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}+00:00"  # of the simulated clock
FIRST_DAY = 24
NOT_FOUND = (404, {"message": "404: Not Found"})
METHODS = ("GET", "POST", "PUT")
PAGES: Mapping[str, str] = {
    "overview": (
        "REST API. Send `request` with a method, a path and, for POST, a JSON body. Answers are JSON.\n"
        "Pages: states, services, errors."
    ),
    "states": (
        "GET /api/states: all states. GET /api/states?domain=light&area=kitchen: those of a domain or room.\n"
        "GET /api/states/<entity_id>: one, as entity_id, state, attributes, last_changed.\n"
        "GET /api/ says that it runs; GET /api/config has the time."
    ),
    "services": (
        "POST /api/services/<domain>/<service> with {\"entity_id\": \"…\"} and the service's own fields.\n"
        "The answer lists the states that changed. GET /api/services lists all services with their fields.\n"
        "Examples: light/turn_on {\"entity_id\": \"light.x\", \"brightness_pct\": 40};\n"
        "climate/set_temperature {\"entity_id\": \"climate.x\", \"temperature\": 20.5};\n"
        "cover/set_cover_position {\"entity_id\": \"cover.x\", \"position\": 30}; lock/lock; switch/turn_off."
    ),
    "errors": "400: the body is wrong. 404: no such path or entity. 503: no answer of the device; try again.",
}  # fmt: skip


def rest_tools(_: World) -> dict[str, HomeTool]:
    """The tools of this level."""
    return {one.name: one for one in (LIST_DOCS, READ_DOC, REQUEST, WAIT)}


def state_of(entity: Entity) -> dict[str, Any]:
    """An entity as Home Assistant shows it."""
    attributes = {"friendly_name": entity.name, "area": entity.area} | entity.attributes
    return {
        "entity_id": entity.entity_id,
        "state": entity.state,
        "attributes": attributes,
        "last_changed": time_text(entity.changed_at),
    }


def time_text(at: int) -> str:
    """A second of the simulated clock as a time in ISO 8601."""
    day, second = divmod(at, DAY_S)
    return DATE.format(
        day=FIRST_DAY + day,
        hour=second // HOUR_S,
        minute=second % HOUR_S // MINUTE_S,
        second=second % MINUTE_S,
    )


def answered(world: World, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    """The status and the answer of a request."""
    try:
        parts = urlsplit(path)
    except ValueError:  # such as half a bracket
        return 400, {"message": "400: Bad Request"}
    steps = [one for one in parts.path.split("/") if one]
    match method, steps:
        case "GET", ["api", *rest]:
            return _read(world, rest, parts.query)
        case "POST", ["api", "services", domain, service]:
            return _served(world, domain, service, body)
    return NOT_FOUND


def _read(world: World, steps: list[str], query: str) -> tuple[int, Any]:
    match steps:
        case []:
            return 200, {"message": "API running."}
        case ["config"]:
            return 200, {
                "state": "RUNNING",
                "time": time_text(world.now),
                "unit_system": {"temperature": "°C"},
            }
        case ["services"]:
            return 200, _services(world)
        case ["states"]:
            return 200, _states(world, query)
        case ["states", entity_id]:
            entity = world.find(entity_id)
            return (200, state_of(entity)) if entity else (404, {"message": "Entity not found."})
    return NOT_FOUND


def _states(world: World, query: str) -> list[dict[str, Any]]:
    wanted = {key: values[-1].lower() for key, values in parse_qs(query).items()}
    return [
        state_of(one)
        for one in world.entities.values()
        if one.entity_id.startswith(wanted.get("domain", "")) and wanted.get("area", "") in one.area.lower()
    ]


def _services(world: World) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(one.kind for one in world.entities.values()):
        for name, one in KINDS[kind].services.items():
            fields = {field.name: {"description": field.description} for field in one.parameters}
            found.setdefault(KINDS[kind].domain, {})[name] = {
                "description": one.description,
                "fields": fields,
            }
    return [{"domain": domain, "services": services} for domain, services in found.items()]


def _served(world: World, domain: str, service: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    named = body.get("entity_id")
    names = named if isinstance(named, list) else [named]
    entities = [world.find(one) if isinstance(one, str) else None for one in names]
    if not entities or any(one is None or not one.entity_id.startswith(f"{domain}.") for one in entities):
        return 400, {"message": f"entity_id must name entities of the domain {domain[:40]}"}
    data, changed = {key: value for key, value in body.items() if key != "entity_id"}, []
    for one in entities:
        assert one is not None
        n_changes = len(world.changes)
        done = world.order(one.entity_id, service, data)
        if done.problem is not None:
            return (503 if done.problem == "refused" else 400), {"message": done.message}
        changed += [state_of(one)] if len(world.changes) > n_changes else []
    return 200, changed


def _list_docs(_: World, __: Mapping[str, Any]) -> ToolResult:
    return shown({"pages": list(PAGES)})


def _read_doc(_: World, arguments: Mapping[str, Any]) -> ToolResult:
    page = arguments["page"]
    return (
        shown(PAGES[page]) if page in PAGES else error_result(f"there is no page {page[:80]!r}", "not found")
    )


def _request(world: World, arguments: Mapping[str, Any]) -> ToolResult:
    status, body = answered(world, arguments["method"], arguments["path"], arguments.get("body", {}))
    found = shown({"status": status, "body": body})
    return (
        found
        if status < 400
        else ToolResult(found.content, "refused" if status == 503 else "wrong arguments")
    )


LIST_DOCS = HomeTool("list_docs", "List the pages of the API's documentation.", (), _list_docs)
READ_DOC = HomeTool(
    "read_doc", "Read a page of it.", (ToolParameter("page", "string", "name of the page"),), _read_doc
)
METHOD = ToolParameter("method", "string", "HTTP method", METHODS)
BODY = ToolParameter("body", "object", "JSON body", is_optional=True)
REQUEST = HomeTool(
    "request",
    "Send a request to the home's API.",
    (METHOD, ToolParameter("path", "string", "such as /api/"), BODY),
    _request,
)
