"""The tools as a server of the Model Context Protocol, over standard input and output.

Only the words of the protocol are here: what a tool does is in `session`. A call may take a minute, so each
runs in a thread, and a client may ask for the state meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import tracker
from runners.research.tools.catalog import TOOLS
from runners.research.tools.session import ToolResult, ToolSession
from tracker.errors import TrackerError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

NAME = "tracker-research"
INSTRUCTIONS = (
    "You are a researcher who improves the training of a small language model. Read `program.md` first, "
    "then `status`. Change the draft (`edit_file`, `set_numbers`), try it cheaply (`run_probe`), and "
    "`submit` it as a trial. Each submission uses up one of a fixed number of trials. Keep notes. Go on "
    "until no trials are left."
)


def called(session: ToolSession, name: str, arguments: object) -> ToolResult:
    """The answer to a call; what fails on our side is told too, since a client cannot do more about it."""
    try:
        return session.call(name, arguments)
    except TrackerError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return ToolResult(f"the study cannot go on: {error}{hint}", is_error=True)


def mcp_server(session: ToolSession) -> Server[Any]:
    """A server that offers the tools of `session`."""
    import anyio.to_thread
    import mcp_types as types
    from mcp.server.lowlevel import Server

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        tools = [
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema)
            for tool in TOOLS
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        work = partial(called, session, params.name, params.arguments)
        result = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        content = [types.TextContent(type="text", text=result.text)]
        return types.CallToolResult(content=[*content], is_error=result.is_error)

    return Server(
        NAME,
        version=tracker.__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(session: ToolSession) -> None:
    """Serve one client until it closes our standard input."""
    import anyio
    from mcp.server.stdio import stdio_server

    server = mcp_server(session)

    async def serve() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(serve)
