"""Addresses of this app's own pages and routes in text, under the base path of a reverse proxy."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st


def own_address(path: str, **parameters: str) -> str:
    """The address of a page or route, such as `/model`, with its parameters."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    query = f"?{urlencode(parameters)}" if parameters else ""
    return f"/{base}{path}{query}" if base else f"{path}{query}"
