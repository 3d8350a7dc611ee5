"""The answers for agents, over the Model Context Protocol: what `tracker mcp` serves.

`tools` has one record per tool and is the place where one is added; `server` speaks the protocol. Numbers
come from `tracker/answers` as on the command line, with their interval, n, date and source.
"""
