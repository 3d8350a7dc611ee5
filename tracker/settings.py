"""Every environment variable and path of the project, read once per command and nowhere else.

`TRACKER_HOME` is `data/local/` when run from a checkout, else the user data folder. Downloaded
weights stay in the Hub's own cache (`HF_HOME`), so nothing is stored twice.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import AfterValidator, AliasChoices, AwareDatetime, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from tracker.errors import TrackerError
from tracker.redaction import PLAIN_NAMES

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
# Variables of ours and of the libraries that hold a secret, or an address with one in it.
SECRET_NAME = re.compile(r"TRACKER_\w*(KEY|TOKEN|SECRET|PASSWORD)")
SECRET_PARAMETER = re.compile(r"key|token|secret|pass|pwd|sig|auth|cred|jwt|session", re.IGNORECASE)
KEY_CHARS = 8  # of a value with letters and digits; shorter ones are versions and days
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "TRACKER_NOTIFY")
# Set by `without_login` for our own child processes: addresses of servers with user, password and query.
LOGINS = "TRACKER_SERVER_LOGINS"
# Endpoints of the API, on which a copied address of a server ends. Azure's own base ends on `/models`.
ENDPOINT = re.compile(r"/(chat/completions|completions|responses|embeddings)$|(?<=/v1)/models$")
ROOT = Path(__file__).resolve().parent.parent  # the checkout, or site-packages


def default_home() -> Path:
    """`data/local/` inside a checkout, else the folder that platformdirs names."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data" / "local"
    return Path(platformdirs.user_data_dir("tracker", appauthor=False))


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Settings from environment variables; a command-line flag takes precedence."""

    model_config = SettingsConfigDict(env_prefix="TRACKER_", frozen=True, extra="ignore")

    # absolute: a child process works in another folder
    home: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=default_home,
        description="Folder for all stored data except Hub downloads.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        default="warning", description="Lowest level that is logged: debug, info, warning or error."
    )
    fixed_now: AwareDatetime | None = Field(
        default=None,
        validation_alias="TRACKER_NOW",
        description="Moment from which ages and weeks are counted, such as 2026-11-24T12:00Z; default: now.",
    )
    heartbeat_timeout_s: float = Field(
        default=600.0, gt=0, description="Seconds without a sign of life after which a worker is stopped."
    )
    executor: str = Field(
        default="local",
        description="Where benches and trainings run without `--executor`: local, ray, slurm, or an "
        "installed executor.",
    )
    slurm: dict[str, Any] = Field(
        default_factory=dict,
        description='Parameters of submitit for the executor slurm, as JSON: `{"slurm_partition": "gpu", '
        '"timeout_min": 240}`.',
    )
    ray_address: str = Field(
        default="local",
        validation_alias=AliasChoices("TRACKER_RAY_ADDRESS", "RAY_ADDRESS"),
        description="Cluster of the executor ray, such as host:6379 or auto; default: a local one.",
    )
    cuda_visible_devices: str | None = Field(
        default=None,
        validation_alias="CUDA_VISIBLE_DEVICES",
        description="GPUs that CUDA may use; read only to report the same ones.",
    )
    flush_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds between writes of new answers; a killed run loses at most this much work.",
    )
    server_api_key: str = Field(
        default="", repr=False, description="Key for `--engine server`; never stored or printed."
    )
    llama_server: str = Field(
        default="",
        description="Program `llama-server` for GGUF files; default: the package xllamacpp, else the PATH.",
    )
    load_generator: str = Field(
        default="",
        description="`python` or `vllm` of an environment whose vLLM generates the load of "
        "`tracker bench --speed`; default: our own environment, else the PATH.",
    )
    source_urls: dict[str, str] = Field(
        default_factory=dict,
        description='Mirrors of sources, as JSON: `{"epoch": "https://example.org/epoch.zip"}`.',
    )
    source_timeout_s: float = Field(
        default=1800.0, gt=0, description="Time limit per source and ingest, in seconds."
    )
    hub_page: int = Field(
        default=500, ge=1, le=1000, description="Models requested per page of the Hub's list."
    )
    artificial_analysis_key: str = Field(
        default="",
        repr=False,
        description="Key for the source `artificial-analysis`, skipped without one; never stored or printed.",
    )
    app_token: str = Field(
        default="",
        repr=False,
        description="Token of the address of `tracker app`, at least 16 characters; default: a new one at "
        "each start; never stored.",
    )
    corpus_split: Literal["home", "public"] = Field(
        default="home",
        description="Text that `tracker research` holds out: by a secret of this `home`, or `public`, equal "
        "on all machines.",
    )
    cache_quota_gb: float | None = Field(
        default=None, gt=0, description="Maximum size of the Hub's cache in GB; default: the free disk space."
    )

    def now(self) -> datetime:
        """The moment that answers count from: "this week", "overdue", an age. In UTC.

        Records are stamped with the machine's clock instead: TRACKER_NOW changes no `started_at`.
        """
        return (self.fixed_now or datetime.now(UTC)).astimezone(UTC)

    @property
    def raw_path(self) -> Path:
        """Folder of the sources' raw responses, compressed."""
        return self.home / "raw"

    @property
    def suites_path(self) -> Path:
        """Folder of the user's own suites, one TOML file each."""
        return self.home / "suites"

    @property
    def digests_path(self) -> Path:
        """Folder of written digests, and of the feed."""
        return self.home / "digests"

    @property
    def items_path(self) -> Path:
        """Folder of item files, one folder per run: the primary data."""
        return self.home / "items"

    @property
    def speeds_path(self) -> Path:
        """Folder of measurements of speed, one folder each: the primary data."""
        return self.home / "speeds"

    @property
    def studies_path(self) -> Path:
        """Folder of studies, one folder per study: the primary data."""
        return self.home / "studies"

    @property
    def ladders_path(self) -> Path:
        """Folder of ladders, one file per model and suite: which runs belong together."""
        return self.home / "ladders"

    @property
    def programs_path(self) -> Path:
        """Folder of searches for better instructions, one folder per search: the primary data."""
        return self.home / "programs"

    @property
    def attacks_path(self) -> Path:
        """Folder of attack results, one file per run of the attack suite: the primary data."""
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
        """Folder of models built here, such as `demo`."""
        return self.home / "models"

    @property
    def frontier_path(self) -> Path:
        """Folder of cached bootstrap draws, so that only the first query takes seconds."""
        return self.home / "frontier"

    @property
    def locks_path(self) -> Path:
        """Folder of lock and pid files."""
        return self.home / "locks"


_log_level: ContextVar[LogLevel | None] = ContextVar("log_level", default=None)


@contextmanager
def log_level(level: LogLevel | None) -> Iterator[None]:
    """Inside, `load_settings` has this level, whatever the environment says; None changes nothing."""
    token = _log_level.set(level)
    try:
        yield
    finally:
        _log_level.reset(token)


def load_settings(home: Path | None = None) -> Settings:
    """The settings of this process; `home` takes precedence over TRACKER_HOME.

    They are read again only where the environment has changed: a page asks for them dozens of times.

    Raises:
        TrackerError: a variable has an invalid value; the message omits it, since it may be a secret.
    """
    try:
        return _settings(home, _log_level.get(), tuple(os.environ.items()), _current_folder())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "a variable"
        name = name if name.isupper() else f"TRACKER_{name.upper()}"
        raise TrackerError(f"{name}: {first['msg'].lower()}", hint=f"change it, or `unset {name}`") from error
    except SettingsError as error:  # a variable that must hold JSON
        found = re.search(r'field "(\w+)"', str(error))
        name = f"TRACKER_{found.group(1).upper()}" if found else "a variable TRACKER_…"
        raise TrackerError(
            f"`{name}` does not hold valid JSON", hint='example: {"epoch": "https://…"}'
        ) from error


@functools.lru_cache(maxsize=8)
def _settings(home: Path | None, level: LogLevel | None, _environment: object, _folder: str) -> Settings:
    given: dict[str, Any] = {} if level is None else {"log_level": level}
    return Settings(**given if home is None else given | {"home": home})


def _current_folder() -> str:
    """The folder from which a relative home counts; empty if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def secret_words() -> frozenset[str]:
    """Every secret of this user that the environment or the Hub's token file holds; never printed or stored.

    Keys and tokens, and of addresses the passwords and the keys in their queries.
    """
    environment = os.environ
    secrets, with_secrets = _secret_names(tuple(environment))
    addresses = [*map(environment.get, with_secrets), *_logins.values(), *environment.get(LOGINS, "").split()]
    return _secret_words(
        (*map(environment.get, secrets), _hub_token()),
        tuple(addresses),
        environment.get("TRACKER_SOURCE_URLS", ""),
    )


@functools.lru_cache(maxsize=8)
def _secret_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The variables that hold secrets, and those that hold addresses."""
    secrets = [name for name in names if name.upper() in SECRETS or SECRET_NAME.fullmatch(name.upper())]
    return tuple(secrets), tuple(name for name in names if name.upper() in ADDRESSES)


_logins: dict[str, str] = {}  # of servers that this process started: their addresses, with the login


def without_login(base_url: str) -> str:
    """The base URL of a server as records keep it: without user, password, query and a copied endpoint.

    Login and query are kept for this process and its children, see `server_login` and `server_query`.
    """
    try:
        parts = urlsplit(base_url.strip())
        user, has_one, host = parts.netloc.rpartition("@")
    except ValueError:
        return base_url
    if (has_one and user) or parts.query:
        others = []
        for one in os.environ.get(LOGINS, "").split():
            given = urlsplit(one)
            if given.netloc.rpartition("@")[2] != host:
                others.append(one)
                continue
            user = user or given.netloc.rpartition("@")[0]
            parts = parts._replace(query=parts.query or given.query)
        netloc = f"{user}@{host}" if user else host
        login = parts._replace(netloc=netloc, path="", fragment="").geturl()
        os.environ[LOGINS] = " ".join([*others, re.sub(r"\s", "%20", login)])
    path = ENDPOINT.sub("", parts.path.rstrip("/")) or ("/" if parts.path == "/" else "")
    return parts._replace(netloc=host, path=path, query="", fragment="").geturl()


def keep_server_key(base_url: str, key: str) -> None:
    """Send this key to that server from now on, in this process only."""
    parts = urlsplit(base_url)
    _logins[parts.netloc] = f"{parts.scheme}://:{key}@{parts.netloc}"


def server_login(base_url: str) -> str:
    """`user:password` for this server, or `:key`; empty if none was given for its host and port."""
    return next((unquote(user) for user, _ in _given_for(base_url) if user), "")


def server_query(base_url: str) -> str:
    """The query that each request to this server carries; empty if none was given for its host and port."""
    return next((query for _, query in _given_for(base_url) if query), "")


def plain_query(query: str) -> str:
    """The words of a query that are no keys, sorted."""
    words = [word.partition("=") for word in query.split("&")]
    return "&".join(sorted(n + e + v for n, e, v in words if n + v and not _is_key(n if e else "", v or n)))


def _given_for(base_url: str) -> Iterator[tuple[str, str]]:
    """User and query that were given for the host and port of an address."""
    parts = urlsplit(base_url)
    for login in (*_logins.values(), *os.environ.get(LOGINS, "").split()):
        given = urlsplit(login)
        user, _, host = given.netloc.rpartition("@")
        if (given.scheme, host) == (parts.scheme, parts.netloc):
            yield user, given.query


@functools.lru_cache(maxsize=8)
def _secret_words(
    words: tuple[str | None, ...], addresses: tuple[str | None, ...], source_urls: str
) -> frozenset[str]:
    found = {word.strip() for word in words if word}
    with suppress(ValueError, AttributeError, RecursionError):
        addresses += tuple(filter(None, (str(url) for url in json.loads(source_urls or "{}").values())))
    for address in filter(None, addresses):
        found |= address_secrets(address)
    return frozenset(filter(None, found))


def address_secrets(address: str) -> frozenset[str]:
    """The password in an address (or the user, if alone), and the keys in its query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return frozenset()
    found: set[str] = set()
    inside, has_one, _ = parts.netloc.rpartition("@")
    if has_one:
        user, _, password = inside.partition(":")
        found |= {inside, password or user}
    for word in filter(None, parts.query.split("&")):
        name, equals, value = word.partition("=")
        found |= {value} if equals and _is_key(name, value) else set()
        found |= {word} if not equals and _is_key("", word) else set()
    return frozenset(filter(None, found | {unquote(word) for word in found}))


def _is_key(name: str, value: str) -> bool:
    """Whether a value in a query is a key, by its name or because it has letters and digits like one."""
    if name.casefold() in PLAIN_NAMES:
        return False
    is_mixed = bool(re.search(r"\d", value)) and bool(re.search(r"[A-Za-z]", value))
    return (is_mixed and len(value) >= KEY_CHARS) or bool(SECRET_PARAMETER.search(name))


def _hub_token() -> str:
    """The token of `hf auth login`, from where the Hub's library keeps it; empty if there is none."""
    get = os.environ.get
    path = _hub_token_path(get("HF_TOKEN_PATH"), get("HF_HOME"), get("XDG_CACHE_HOME"), get("HOME"))
    with suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""


@functools.lru_cache(maxsize=8)
def _hub_token_path(path: str | None, hub_home: str | None, cache: str | None, user: str | None) -> Path:
    """As the library derives it from its variables; `user` decides what `~` is."""
    del user
    home = Path(hub_home or Path(cache or "~/.cache") / "huggingface")
    with suppress(RuntimeError):  # nobody's home
        return Path(path or home / "token").expanduser()
    return Path(path or home / "token")
