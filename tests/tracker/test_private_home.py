"""The home is for its owner: created so, and named where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.tiny_models import save_random, tiny_tokenizer
from tests.doubles.hub_double import running_hub
from tracker.cli.doctor_checks import disks
from tracker.private_home import USERS_UMASK, create_home, home_problems, remedy
from tracker.settings import Settings

pytestmark = [
    pytest.mark.clock,
    pytest.mark.skipif(sys.platform == "win32", reason="its folders have no such modes"),
]


def access(settings: Settings) -> tuple[str, str, str]:
    (check,) = [one for one in disks(settings) if one.name == "home access"]
    return check.status, check.detail, check.hint


def test_private_home_is_created_for_its_owner(settings: Settings) -> None:
    old = os.umask(0o000)
    try:
        create_home(settings.home)
    finally:
        os.umask(old)
    assert settings.home.stat().st_mode & 0o777 == 0o700
    assert home_problems(settings.home) == []
    assert access(settings)[0] == "ok"


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (0o755, "other users of this machine can read"),
        (0o711, "other users of this machine can read"),
        (0o750, "other users of this machine can read"),
        (0o770, "a group can change"),
        (0o777, "every user of this machine can change"),
        (0o1777, "every user of this machine can change"),
    ],
)
def test_private_home_that_is_open_is_named_and_never_changed(
    mode: int, says: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.home.mkdir()
    settings.home.chmod(mode)
    create_home(settings.home)
    assert settings.home.stat().st_mode & 0o7777 == mode
    assert says in caplog.text
    assert f"chmod -R go-rwx {settings.home}" in caplog.text
    assert (access(settings)[0], access(settings)[2]) == ("warn", remedy(settings.home))
    (settings.home / "tracker.duckdb").touch()
    caplog.clear()
    create_home(settings.home)
    assert caplog.text == ""  # once, where something is first stored


def test_private_home_that_does_not_exist_has_no_problem(tmp_path: Path) -> None:
    assert home_problems(tmp_path / "nothing") == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a folder away")
def test_private_home_of_another_user_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.home.mkdir(mode=0o700)
    os.chown(settings.home, 12345, 12345)
    assert home_problems(settings.home) == [f"the home `{settings.home}` belongs to another user (id 12345)"]
    link = tmp_path / "link"
    link.symlink_to(settings.home)
    os.lchown(link, 12345, 12345)
    assert "is a link of another user" in home_problems(link)[0]


DOWNLOAD = """
import sys
from pathlib import Path
from runners.models.hub import download_model, hub_model
from tracker.private_home import create_home, restrict_new_files
import os
os.umask(0o027)
restrict_new_files()
restrict_new_files()  # as the command line of a child does
print(download_model(hub_model("acme/tiny", trust_remote_code=False)))
create_home(Path(sys.argv[1]))
(Path(sys.argv[1]) / "run.json").touch()
"""


def test_private_home_leaves_the_cache_of_the_hub_to_the_umask_of_the_user(
    home: Path, tmp_path: Path
) -> None:
    save_random(tmp_path / "tiny", tiny_tokenizer())
    with running_hub() as hub:
        hub.serve("acme/tiny", tmp_path / "tiny")
        environment = os.environ | {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        environment.pop(USERS_UMASK, None)  # a command that ran in this process before has set it
        done = subprocess.run(
            [sys.executable, "-c", DOWNLOAD, str(home)],
            env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    repository = tmp_path / "hf" / "hub" / "models--acme--tiny"  # the library gives locks and trees own modes
    files = [path for name in ("blobs", "refs") for path in (repository / name).iterdir()]
    folders = {path.stat().st_mode & 0o777 for path in (repository, *repository.rglob("*")) if path.is_dir()}
    modes = {path.stat().st_mode & 0o777 for path in files}
    assert Path(done.stdout.strip(), "config.json").is_file()
    assert (modes, folders) == ({0o640}, {0o750})
    assert [path.stat().st_mode & 0o077 for path in (home, home / "run.json")] == [0, 0]


def test_private_home_holds_for_all_that_the_command_line_writes(home: Path) -> None:
    code = "import os, sys; os.umask(0); from tracker.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", code, "store", "rebuild"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    written = [home, *home.rglob("*")]
    assert len(written) > 1
    assert [path for path in written if path.stat().st_mode & 0o077] == []
