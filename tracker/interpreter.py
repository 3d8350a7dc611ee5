"""Start child processes that never import from the working directory.

The working directory may contain a `queue.py`, an `app` package or an edited clone of lm-eval, and a
measurement must not depend on it. `-P` keeps it off a child's import path, `PYTHONSAFEPATH` off that of the
child's own children, and `PYTHONPATH=.` is not passed on.

Only `os` and `sys` are imported here, which are loaded before the first line of any program:
`tracker.__main__` calls `leave_working_directory` before it imports anything else.

Not covered: an interpreter that was started with `PYTHONPATH=.` has already executed a `sitecustomize.py`
of the working directory, and `python -m tracker` without `-P` a package `tracker` in it.
"""

import os
import sys

# The folder of our packages: a checkout or site-packages. It stays on the import path even if it is the
# working directory.
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Environment variables with a path: made absolute, since a child may have another working directory.
PATH_VARIABLES = (
    "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE",
    "HF_TOKEN_PATH", "HUGGINGFACE_HUB_CACHE", "TORCH_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
    "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "TRACKER_HOME",
)  # fmt: skip


def python_command(*arguments: str) -> list[str]:
    """Command line of this interpreter for a child that imports nothing from the working directory."""
    return [sys.executable, "-P", *arguments]


def python_environment() -> dict[str, str]:
    """Our environment for a child, with absolute paths, since its working directory may differ."""
    environment = dict(os.environ) | {"PYTHONSAFEPATH": "1"}
    given = environment.pop("PYTHONPATH", "")
    path = without_working_directory(given.split(os.pathsep)) if given else []
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    for name in PATH_VARIABLES:
        value = environment.get(name)
        if value and not value.startswith("~"):
            environment[name] = os.path.abspath(value)
    return environment


def leave_working_directory() -> None:
    """Remove the working directory from the import path of this process."""
    sys.path[:] = without_working_directory(sys.path)


def without_working_directory(entries: list[str]) -> list[str]:
    """Entries of an import path that are neither the working directory nor relative to it."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # deleted, so nothing can be imported from it
        here = ""
    kept = []
    for entry in entries:
        folder = os.path.realpath(os.path.join(here, entry))
        if folder == ROOT:
            kept.append(entry if os.path.isabs(entry) else ROOT)
        elif os.path.isabs(entry) and folder != here:
            kept.append(entry)
    return kept


def extension_hint(module: str) -> str:
    """Hint on how to make `module` importable, for an import error."""
    top = module.partition(".")[0]
    if os.path.exists(f"{top}.py") or os.path.isdir(top):
        return (
            f"`{top}` is in the working directory, which is not on the import path: "
            "install it as a package (`pip install -e .`)"
        )
    return f"install the package that contains `{top}`, then repeat the command"
