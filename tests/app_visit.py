"""A visitor's session of the app, as the tests of its pages use it."""

from __future__ import annotations

from pathlib import Path

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


def said(session: AppTest) -> str:
    """Everything that the page says in words."""
    kinds = (session.title, session.header, session.caption, session.info, session.warning, session.error)
    kinds += (session.text, session.markdown)
    return "\n".join(element.value for kind in kinds for element in kind)


def shown_facts(session: AppTest) -> list[str]:
    """The values that stand under their names."""
    return [element.value for element in session.text]
