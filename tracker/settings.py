"""Every environment variable and path of the project, read once per command and nowhere else.

`TRACKER_HOME` is `data/local/` when run from a checkout, else the user data folder. Downloaded
weights stay in the Hub's own cache (`HF_HOME`), so nothing is stored twice.
"""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from tracker.errors import TrackerError

ROOT = Path(__file__).resolve().parent.parent  # the checkout, or site-packages


def default_home() -> Path:
    """`data/local/` inside a checkout, else the folder that platformdirs names."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data" / "local"
    return Path(platformdirs.user_data_dir("tracker", appauthor=False))


class Settings(BaseSettings):
    """What the environment says; a flag on the command line goes before it."""

    model_config = SettingsConfigDict(env_prefix="TRACKER_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=default_home)
    log_level: str = "warning"
    heartbeat_timeout_s: float = Field(default=600.0, gt=0)  # a worker without any sign of life is stopped
    # which cards CUDA may show; only read, to describe the same ones
    cuda_visible_devices: str | None = Field(default=None, validation_alias="CUDA_VISIBLE_DEVICES")
    flush_s: float = Field(default=5.0, gt=0)  # how often answers are written; so much a kill can lose
    server_api_key: str = Field(default="", repr=False)  # for `--engine server`; never stored or printed

    # instead of a source's own address: a mirror, or a stand-in; JSON such as {"epoch": "https://…"}
    source_urls: dict[str, str] = Field(default_factory=dict)
    source_timeout_s: float = Field(default=1800.0, gt=0)  # of one source in one ingest
    hub_page: int = Field(default=500, ge=1, le=1000)  # models in one answer of the Hub
    artificial_analysis_key: str = Field(default="", repr=False)  # never stored or printed
    cache_quota_gb: float | None = Field(default=None, gt=0)  # of the Hub's cache; None: what the disk has

    @property
    def raw_path(self) -> Path:
        """Folder of what the sources answered, compressed."""
        return self.home / "raw"

    @property
    def digests_path(self) -> Path:
        """Folder of written digests, and of the feed."""
        return self.home / "digests"

    @property
    def items_path(self) -> Path:
        """Folder of item files, one folder per run: the truth."""
        return self.home / "items"

    @property
    def studies_path(self) -> Path:
        """Folder of auto-research, one folder per study: the truth."""
        return self.home / "studies"

    @property
    def attacks_path(self) -> Path:
        """Folder of what became of the scripted cheats, one file per run of them: the truth."""
        return self.home / "attacks"

    @property
    def db_path(self) -> Path:
        """The index over the item files; only the command line writes it."""
        return self.home / "tracker.duckdb"

    @property
    def snapshots_path(self) -> Path:
        """Folder of the published read-only copies and of the pointer to the newest."""
        return self.home / "snapshots"

    @property
    def models_path(self) -> Path:
        """Folder of models that we made ourselves, such as `demo`."""
        return self.home / "models"

    @property
    def frontier_path(self) -> Path:
        """Folder of bootstrap draws, kept so that only the first question takes seconds."""
        return self.home / "frontier"

    @property
    def locks_path(self) -> Path:
        """Folder of lock and pid files."""
        return self.home / "locks"


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        TrackerError: a variable holds what cannot be one; the value is not repeated, for it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "a variable"
        name = name if name.isupper() else f"TRACKER_{name.upper()}"
        raise TrackerError(f"{name}: {first['msg'].lower()}", hint=f"change it, or `unset {name}`") from error
    except SettingsError as error:  # one that is to be JSON, and is none
        found = re.search(r'field "(\w+)"', str(error))
        name = f"TRACKER_{found.group(1).upper()}" if found else "a variable TRACKER_…"
        raise TrackerError(f"{name} is no JSON", hint='such as {"epoch": "https://…"}') from error
