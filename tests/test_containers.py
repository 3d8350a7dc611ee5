"""`Dockerfile` and `compose.yaml`, as far as they can be held to account where no container can be built."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from app.http.routes import ROUTES
from tests.conftest import ROOT
from tracker.cli.command_line import command_line

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
STAGES = dict(re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE))
KNOWN = {
    "FROM",
    "RUN",
    "WORKDIR",
    "COPY",
    "ENV",
    "VOLUME",
    "USER",
    "EXPOSE",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}


def arguments(name: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def is_sent(path: str) -> bool:
    """Whether `.dockerignore` lets the path into the build; the last rule that fits decides."""
    sent = True
    for rule in (ROOT / ".dockerignore").read_text().split():
        pattern = rule.removeprefix("!")
        if path == pattern or path.startswith(f"{pattern}/") or fnmatch(path, pattern):
            sent = rule.startswith("!")
    return sent


def test_dockerfile_has_only_instructions_that_there_are() -> None:
    words = {line.split()[0] for line in INSTRUCTIONS if line.strip() and not line.startswith(" ")}
    assert words == KNOWN


def test_dockerfile_copies_what_exists_and_is_sent() -> None:
    sources = {source for line in arguments("COPY") for source in line.split()[:-1]}
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source not in ("data", "./data") and not is_sent(source)] == []


def test_dockerfile_copies_all_that_the_wheel_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], *project["project"]["license-files"]]
    copied = {source for line in arguments("COPY") for source in line.split()[:-1]}
    for path in needed:
        assert is_sent(path), path
        assert any(path == each or path.startswith(f"{each}/") for each in copied), path


def test_dockerfile_has_the_vllm_of_the_constraints() -> None:
    (version,) = re.findall(r"^vllm==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert f"vllm/vllm-openai:v{version}" in STAGES


def test_dockerfile_commands_are_commands_of_ours() -> None:
    assert set(map(tuple, map(json.loads, arguments("ENTRYPOINT")))) == {("tracker",)}
    for line in arguments("CMD"):
        command_line.parse_args(json.loads(line), exit_on_error=False, print_error=False)


def test_dockerfile_asks_a_route_that_exists_for_its_health() -> None:
    (path,) = re.findall(r"127\.0\.0\.1:8501(/\w+)", DOCKERFILE)
    assert path in {route.path for route in ROUTES}


def test_compose_keeps_home_and_models_in_the_volumes_that_the_image_names() -> None:
    homes = dict(word.split("=") for word in arguments("ENV")[0].split())
    for line in arguments("VOLUME"):
        assert sorted(json.loads(line)) == sorted(homes.values())
    for service in COMPOSE["services"].values():
        assert service["build"]["target"] in STAGES.values()
        mounted = dict(volume.split(":") for volume in service["volumes"])
        assert set(mounted) <= set(COMPOSE["volumes"])
        assert homes["TRACKER_HOME"] in mounted.values()


def test_compose_publishes_the_dashboard_to_this_machine_alone() -> None:
    assert COMPOSE["services"]["dashboard"]["ports"] == ["127.0.0.1:8501:8501"]


SHOWN = re.findall(r"^# docker compose run --rm bench (.+?)  ", COMPOSE_TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", SHOWN)
def test_compose_shows_commands_that_the_command_line_accepts(line: str) -> None:
    command, bound, _ = command_line.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
    assert (command.__name__, bool(bound.args or bound.kwargs)) == (shlex.split(line)[0], True)


def test_compose_shows_a_bench_and_a_weekly_run() -> None:
    assert [line.split()[0] for line in SHOWN] == ["bench", "weekly"]
