"""What went wrong when a task was loaded or asked, in words for the one who wrote or chose it."""

from __future__ import annotations

import os

import httpx2
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HfHubHTTPError
from jinja2 import TemplateError

from tracker.installation import is_pinned, package_command

# Errors from loading a task's data set: no network, no access, no such file or split (datasets raises
# ValueError and KeyError), a missing package that the task needs.
DATA_ERRORS = (OSError, DatasetsError, HfHubHTTPError, httpx2.HTTPError, ImportError, LookupError, ValueError)
# Of those that a task's own files raise, the kinds that a wrong line in its YAML file gives.
YAML_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TemplateError, TypeError,
    ValueError,
)  # fmt: skip


def first_line(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, StopIteration):  # of datasets, for a file without rows
        return "a file of its data set is empty"
    if isinstance(error, KeyError) and error.args == (None,):  # of lm-eval, whose log has the name
        return "lm-eval knows no metric of a name in its `metric_list`"
    if isinstance(error, ValueError) and "Sample larger than population" in str(error):
        return "it has fewer examples than `num_fewshot` asks for"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def data_hint(error: BaseException) -> str:
    """What helps, if a task cannot be loaded."""
    if isinstance(error, ImportError):
        name = error.name or ""
        return (
            package_command(name)
            if is_pinned(name)
            else f"install the Python module `{name}`, which the task imports"
            if name
            else ""
        )
    if isinstance(error, (*YAML_ERRORS, StopIteration)):
        return "check its YAML file: data set, splits and fields"
    if isinstance(error, FileNotFoundError) and "/" in str(error) and "://" not in str(error):
        return "check the paths in its YAML file: `data_files` and `dataset_path`"
    if not isinstance(error, DATA_ERRORS):
        return "check its YAML file and the functions named there"
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE")
    if offline:
        return "unset HF_HUB_OFFLINE, or run once online to cache its data set"
    return "its data set comes from the Hugging Face Hub; repeat the command when the Hub is reachable"
