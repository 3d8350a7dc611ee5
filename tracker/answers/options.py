"""Options as the command line and Python take them: days, sizes, choices.

Both faces pass the words of a flag, `2026-08-11` or `8B`; a Python user may pass a date or a number instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime

from tracker.errors import FieldError, UnknownNameError, UsageError
from tracker.memory_estimate import BITS, params_that_fit

MULTIPLES = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def day(field: str, given: date | str | None) -> date | None:
    """The day that `2026-08-11` names.

    Raises:
        FieldError: it is no date.
    """
    if given is None or (isinstance(given, date) and not isinstance(given, datetime)):
        return given
    if isinstance(given, datetime):
        return given.date()
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise FieldError(field, f"is not a date: `{given}`", example="2026-08-11") from error


def param_count(given: int | str, *, field: str = "max_params") -> int:
    """The number of parameters that `8B`, `500M` or `134515008` stands for.

    Raises:
        FieldError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", str(given).strip().lower())
    if not found:
        raise FieldError(field, f"is not a number of parameters: `{given}`", example="8B")
    return round(float(found.group(1)) * MULTIPLES[found.group(2)])


def param_limit(given: int | str | None) -> int | None:
    """`param_count` of an option that may be left out.

    Raises:
        FieldError: it is no number of parameters.
    """
    return None if given is None else param_count(given)


def size_limit(max_params: int | str | None, fits_gb: float | None, bits: float | None = None) -> int | None:
    """The smaller of both limits, in parameters; `fits_gb` is for weights of `bits`, by default 16.

    Raises:
        UsageError: bits without memory.
        TrackerError: a value is out of range.
    """
    if bits is not None and fits_gb is None:
        raise UsageError("`--bits` needs `--fits-gb`", hint="--fits-gb 24 --bits 4")
    limits = [param_count(max_params)] if max_params is not None else []
    if fits_gb is not None:
        limits.append(params_that_fit(fits_gb, BITS if bits is None else bits))
    return min(limits, default=None)


def choice(kind: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is one of the known.

    Raises:
        UnknownNameError: it is not.
    """
    names = [str(each) for each in known]
    if name not in names:
        raise UnknownNameError(kind, name, known=names)
    return name
