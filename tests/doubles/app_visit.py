"""A visitor's session of the app, for the tests of its pages."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest, local_script_runner
from streamlit.util import calc_hash

from tests.conftest import ROOT
from tests.doubles.app_process import START_S

# At each visit Streamlit reads the metadata of every installed package; they do not change meanwhile.
SCAN = "scan_component_manifests"
pytest.MonkeyPatch().setattr(manifest_scanner, SCAN, functools.cache(getattr(manifest_scanner, SCAN)))


def until_it_ends(runner: Any, timeout: float) -> None:
    """Wait for the thread of the script.

    Streamlit looks every millisecond; a script that computes then waits for the interpreter's lock at each
    call of numpy, and a page that takes a second took up to eighty.
    """
    runner._script_thread.join(timeout)
    if runner._script_thread.is_alive():
        runner.request_stop()
        runner.join()
        raise RuntimeError(f"the page was not complete after {timeout} s")


pytest.MonkeyPatch().setattr(local_script_runner, "require_widgets_deltas", until_it_ends)

MAIN = ROOT / "app" / "main.py"
PAGES = sorted(path.parent.name for path in (MAIN.parent / "pages").glob("*/page.py"))


def visit(page: str, /, **params: str | list[str]) -> AppTest:
    """Open a page by a link with these parameters."""
    session = AppTest.from_file(str(MAIN), default_timeout=START_S)
    for key, value in params.items():
        session.query_params[key] = value
    # `switch_page` goes by the name of the script until the app has run once, and all scripts are `page.py`
    session._page_hash = calc_hash(page)
    session.run()
    assert not session.exception
    return session


def handed_over(page: str, /, **params: str | list[str]) -> dict[str, pd.DataFrame]:
    """The CSV tables behind the download buttons of the page, by file name."""
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
    """All text on the page."""
    kinds = (session.title, session.header, session.caption, session.info, session.warning, session.error)
    kinds += (session.text, session.markdown)
    return "\n".join(element.value for kind in kinds for element in kind)


def shown_facts(session: AppTest) -> list[str]:
    """The values of the facts on the page, in order."""
    return [element.value for element in session.text]
