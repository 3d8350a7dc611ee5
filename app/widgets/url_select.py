"""Select boxes whose choice is always in the link, even though the default changes with every run.

Streamlit leaves the default of a widget out of the address. So these have none: the first choice is written
to the address like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from tracker.errors import TrackerError, near_names


class UnknownChoiceError(TrackerError):
    """A link leads to something that is not here."""

    def __init__(self, kind: str, name: str, hint: str) -> None:
        super().__init__(f"no {kind} is called `{name}` here", hint=hint)


def select_one(
    label: str, options: Sequence[str], *, key: str, first: str | None = None, kind: str = "", hint: str = ""
) -> str:
    """The option that the reader or the link picks, until then `first`, or else the first of all.

    With a `kind`, a link to anything but an option is refused: another one in its place would mislead.

    Raises:
        TrackerError: that is so; `hint` says where such a thing comes from.
    """
    start = options[0] if first is None else first
    held, asked = st.session_state.get(key), st.query_params.get(key)
    if kind and held is None and asked is not None:
        _refuse_unknown(asked, options, kind=kind, hint=hint)
    if held is not None and held in options:
        _write(key, held, asked)
    elif held is not None or asked not in options:
        _begin(key, start, is_asked=asked is not None)
    chosen = st.selectbox(
        label, options, index=None, key=key, bind="query-params", required=True, placeholder=start
    )
    return start if chosen is None else chosen


def select_titled(label: str, titles: Mapping[str, str], *, key: str, first: str, hint: str = "") -> str:
    """The key of `titles` that the reader or the link picks, shown by its title; `first` is not in the link.

    Streamlit would write the title to the address, and a title may be reworded.
    """
    asked, seen = st.query_params.get(key), f"{key}_of_link"
    if key not in st.session_state or asked != st.session_state.get(seen):  # a new link, or Back
        known = {name.casefold(): name for name in titles}
        st.session_state[key] = known.get((asked or first).casefold(), first)
    st.session_state[seen] = asked

    def write() -> None:
        chosen = st.session_state[key]
        if chosen == first:
            st.query_params.pop(key, None)
        else:
            st.query_params[key] = chosen
        st.session_state[seen] = st.query_params.get(key)

    return st.selectbox(
        label, list(titles), format_func=lambda name: titles[name], key=key, on_change=write, help=hint
    )


def select_many(
    label: str, options: Sequence[str], *, key: str, first: Sequence[str], most: int, kind: str
) -> list[str]:
    """The options that the reader or the link picks, at most `most`; until then `first`.

    Raises:
        TrackerError: the link names one that is no option; `kind` is what it would be.
    """
    held, asked = st.session_state.get(key), st.query_params.get_all(key)
    for name in asked if held is None else ():
        _refuse_unknown(name, options, kind=kind, hint="`tracker bench ORG/NAME` measures one")
    if held:
        _write(key, held, asked)
    elif held is None and not set(asked) & set(options):
        _begin(key, list(first), is_asked=bool(asked))
    return st.multiselect(label, options, max_selections=most, key=key, bind="query-params")


def _refuse_unknown(asked: str, options: Sequence[str], *, kind: str, hint: str) -> None:
    if asked not in options:
        near = " or ".join(f"`{name}`" for name in near_names(asked, options))
        raise UnknownChoiceError(kind, asked, f"did you mean {near}?" if near else hint)


def _write(key: str, held: str | list[str], asked: str | list[str] | None) -> None:
    """Set the current choice again where the address lacks it: Streamlit then writes it there."""
    if held != asked:
        st.session_state[key] = held


def _begin(key: str, value: str | list[str], *, is_asked: bool) -> None:
    """Choose `value`, and write it to the address; where a widget has that part of it, Streamlit does."""
    if not is_asked and key not in st.session_state:
        st.query_params[key] = value
    st.session_state[key] = value
