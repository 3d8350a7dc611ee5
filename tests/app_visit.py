"""A visitor's session of the app, as the tests of its pages use it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest

from tests.app_process import START_S

MAIN = Path(__file__).parent.parent / "app" / "main.py"
PAGES = sorted(path.name for path in (MAIN.parent / "app_pages").glob("*.py") if path.stem != "__init__")


def visit(page: str, /, **params: str | list[str]) -> AppTest:
    """The page as a link with these parameters opens it."""
    session = AppTest.from_file(str(MAIN), default_timeout=START_S)
    for key, value in params.items():
        session.query_params[key] = value
    session.switch_page(f"app_pages/{page}")
    session.run()
    assert not session.exception
    return session


def handed_over(page: str, /, **params: str | list[str]) -> dict[str, pd.DataFrame]:
    """The tables that the page hands over as CSV, by their files' names, as a press of each button does."""
    made: dict[str, pd.DataFrame] = {}
    register = MediaFileManager.add_deferred

    def keep(manager: Any, data: Callable[[], bytes], *args: Any, **named: Any) -> str:
        if named["file_name"].endswith(".csv"):
            made[named["file_name"]] = pd.read_csv(io.BytesIO(data()))
        return register(manager, data, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MediaFileManager, "add_deferred", keep)
        visit(page, **params)
    return made


def said(session: AppTest) -> str:
    """Everything that the page says in words."""
    kinds = (session.title, session.header, session.caption, session.info, session.warning, session.error)
    kinds += (session.text, session.markdown)
    return "\n".join(element.value for kind in kinds for element in kind)


def shown_facts(session: AppTest) -> list[str]:
    """The values that stand under their names."""
    return [element.value for element in session.text]
