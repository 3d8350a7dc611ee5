"""The three answers of the first screen: how far behind, what runs on my card, what changed this week."""

from __future__ import annotations

import streamlit as st

from app.data import digests, frontier_views, model_names
from app.data.frontier_views import Frontier
from app.pages.frontier import model_links, view
from app.widgets import card_choice, safe_text
from app.widgets.change_lines import linked
from app.widgets.index_columns import months_phrase
from app.widgets.refresh import errors_shown
from tracker.answers.best_that_fits import CardBudget
from tracker.answers.digest_records import Digest
from tracker.wording import counted

CARD_BITS = 4.0  # what most people run who look for a card
WEEK_DAYS = 7
SHOWN_CHANGES = 3
POLL_S = 2.0  # while the changes are looked up
NOTHING_NEW = "Nothing new in the last 7 days. `tracker weekly` fetches the sources and measures new models."
CARD_PX = 150  # the least width at which three cards stand side by side on a desk


def show_cards(found: Frontier, definition: str) -> None:
    """Show the three cards side by side, below each other on a phone."""
    with st.grid(3, min_column_width=CARD_PX * 2):
        with st.container(border=True, gap="small", height="stretch"):
            _show_gap(found, definition)
        with st.container(border=True, gap="small", height="stretch"):
            _show_card()
        with st.container(border=True, gap="small", height="stretch"):
            _show_week()


def _show_gap(found: Frontier, definition: str) -> None:
    gap = found.gap(definition)
    with st.container(gap="xxsmall"):
        st.metric(f"Open models trail by ({definition})", view.amount(gap.value, gap.unit))
        st.caption(view.interval_text(gap.ci_low, gap.ci_high, gap.note, gap.unit))
    for access in ("open", "closed"):
        best = found.best(access)
        with st.container(gap="xxsmall"):
            model_links.show_best(found, access)
            st.caption(f"{view.value_text(best['value'], found.unit)} · {best['released']:%d %b %Y}")
            if (interval := safe_text.ends(best["ci_low"], best["ci_high"])) != safe_text.NOTHING:
                st.caption(f"90% interval: {interval}")


def _show_card() -> None:
    memory_gb = card_choice.choose_memory()
    budget = CardBudget(memory_gb, CARD_BITS)
    curve = frontier_views.best_for_card(budget)
    if curve is None or not curve.steps:
        st.caption(f"No open model on the index is known to fit {budget.phrase}")
        return
    best, name = curve.steps[-1], frontier_views.repository(curve.steps[-1].model)
    with st.container(gap="xxsmall"):
        behind = months_phrase(best.months_behind, best.months_bound, curve.definition)
        st.metric(f"Best that fits at {CARD_BITS:g} bits trails by", behind)
        whole = frontier_views.standing_lag()
        st.caption(f"The best open model of any size: {safe_text.months(whole)}")
    with st.container(gap="xxsmall"):
        model = safe_text.escaped(best.model)
        if name in model_names.with_page():
            st.page_link("pages/model/page.py", label=f"View {model}", query_params={"model": name})
        else:
            st.markdown(model)
        st.caption(f"index {best.value:.1f} · 90% interval: {safe_text.ends(best.ci_low, best.ci_high)}")
    st.page_link(
        "pages/run_it/page.py",
        label=f"What runs on {memory_gb:g} GB",
        query_params={"card": f"{memory_gb:g} GB"},
    )


def _show_week() -> None:
    """Show the digest of the week; looked up in a thread, it appears without a rerun of the page."""
    is_ready = digests.week(WEEK_DAYS) is not None

    @st.fragment(run_every=None if is_ready else POLL_S)
    def show() -> None:
        with errors_shown():
            _show_changes(digests.week(WEEK_DAYS, wait_s=0.0))

    show()
    st.page_link("pages/changes/page.py", label="View all changes")


def _show_changes(found: Digest | None) -> None:
    if found is None:
        st.metric("Changes this week", "…")
        st.caption("Being looked up")
        return
    st.metric("Changes this week", f"{sum(section.n for section in found.sections):,}")
    if found.is_empty:
        st.caption(NOTHING_NEW)
    else:
        _show_lines(found)


def _show_lines(found: Digest) -> None:
    """The first line of each kind of change: the order of the digest is that of their weight."""
    with_page = model_names.with_page()
    kinds = [section for section in found.sections if section.n]
    lines = [
        f"- {safe_text.escaped(section.title)}: {linked(section.changes[0], with_page)}"
        + (f", and {counted(section.n - 1, 'more', 'more')}" if section.n > 1 else "")
        for section in kinds[:SHOWN_CHANGES]
    ]
    st.markdown("\n".join(lines))
