"""The documentation: generated pages are those of the code, and every page, link and target exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cyclopts import App

from docs.generate import PAGES, REFERENCE
from docs.json_documents import NOT_RUN, RUN, keys
from tests.conftest import ROOT
from tracker.cli.command_line import command_line
from tracker.settings import Settings

DOCS = ROOT / "docs"
GENERATION_S = 900  # on a machine that does much else
MADE_BY_FUNCTION = {
    "bench", "ingest", "weekly", "research attack", "research judge", "research corpus", "frontier boards",
    "frontier share",
}  # fmt: skip
LINKED = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "data" / "README.md"]
LINKED += sorted((ROOT / "tests").rglob("README.md"))  # a SOURCES.md names files of other repositories


def hook_pages() -> dict[str, str]:
    """Pages that the hook of the site makes of files elsewhere; MkDocs itself is not needed for the tests."""
    text = (DOCS / "mkdocs_hook.py").read_text()
    return dict(re.findall(r'^    "([\w.]+)": "([\w./]+)",$', text, re.MULTILINE))


@pytest.mark.timeout(GENERATION_S)
@pytest.mark.parametrize("name", PAGES)
def test_docs_reference_is_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`json.md` is slow, half a minute of computing: it runs some forty commands on a real store."""
    monkeypatch.setenv("COLUMNS", "40")
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run `make docs-reference`"


def test_docs_reference_has_no_other_page() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == set(PAGES)


def commands(parent: App, path: str = "") -> Iterator[tuple[str, App]]:
    for name in parent:
        if not name.startswith("-"):
            if parent[name].default_command is not None:
                yield f"{path}{name}", parent[name]
            yield from commands(parent[name], f"{path}{name} ")


def test_docs_json_covers_every_command_that_takes_json() -> None:
    takes = {
        name
        for name, command in commands(command_line)
        if any("--json" in each.names for each in command.assemble_argument_collection())
    }
    covered = {*RUN, *NOT_RUN, *MADE_BY_FUNCTION}
    assert takes - covered == set()
    assert {name for name in covered if " --" not in name and not name.isupper()} - takes <= {
        "benchmarks NAME",
        "research show STUDY",
    }


def test_docs_json_keys_merge_documents_and_keep_their_order() -> None:
    found = keys([{"a": [], "b": None, "c": 1}, {"a": [{"x": "t"}], "b": {"y": True}, "c": 0.5}, {"a": [1]}])
    assert found == {"a[]": "integer or object", "a[].x": "text", "b": "object or null", "b.y": "boolean",
                     "c": "number"}  # fmt: skip


def test_docs_settings_describe_every_variable() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_docs_navigation_names_every_page_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = re.findall(r"[\w/-]+\.md", str(config["nav"]))
    made = set(hook_pages())
    assert sorted(named) == sorted({str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | made)


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_docs_links_lead_to_files_and_headings(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place) if place else path
        made = {DOCS / page: ROOT / source for page, source in hook_pages().items()}
        target = made.get(target, target)
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in {
                slug(title) for title in re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            }


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_docs_name_no_file_that_is_absent() -> None:
    """A path in backquotes that begins with a folder of the repository exists there."""
    folders = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    missing = []
    for path in LINKED:
        if path.name == "CHANGELOG.md" or REFERENCE in path.parents:
            continue
        for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", path.read_text()):
            is_elsewhere = path.parent.name == "data" and name.startswith(
                "data/"
            )  # in the repository named there
            if (
                not is_elsewhere
                and not (ROOT / name).exists()
                and not name.startswith(("data/local", "build/"))
            ):
                missing.append(f"{path.name}: {name}")
    assert missing == []


def yaml_files() -> list[Path]:
    found = [ROOT / ".pre-commit-config.yaml", ROOT / "mkdocs.yml"]
    return found + sorted((ROOT / ".github").rglob("*.yml"))


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: path.name)
def test_workflow_yaml_parses_and_calls_targets_that_exist(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {
        word for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", path.read_text()) for word in line.split()
    }
    assert called <= targets


def test_workflow_jobs_cover_tests_lint_types_docs_and_the_wheel() -> None:
    text = "".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    for command in ("make test", "make lint", "typecheck", "make docs", "make test-wheel"):
        assert command in text


def test_pre_commit_hooks_run_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert all(repository["repo"] == "local" for repository in config["repos"])
    assert [entry.split()[0] for entry in entries] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
