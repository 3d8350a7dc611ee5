"""Charts of auto-research: confirmed and claimed gain, best so far, gain by category, loss curves.

Each agent has one color and one dash on all of them; random search and TPE keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.pages.research.rows import CANDIDATE
from app.widgets.chart_theme import FONT_PX, GREY, THEME_COLORS, TRACK, themed
from app.widgets.safe_text import bpb, bpb_ends
from tracker.records.studies import BASELINES
from tracker.wording import counted

# the second color stands for closed models, the seventh is invisible on white
BASELINE_MARKS = dict(zip(BASELINES, (("ink", [2, 3]), ("third", [6, 3])), strict=True))
COLORS = ("first", "fourth", "sixth", "fifth")
SHOWN_AGENTS = len(COLORS)  # beside random search and TPE; more lines would look alike
SOLID = [1, 0]
ROW_PX = 44
AXIS_PX = 76  # numbers and title below
PAD_PX = 12  # so that a mark at the end of the scale is whole
HEIGHT_PX = 340
BAR_PX, CATEGORY_PX = 11, 14
RIGHT_PX = 70  # room for the number at the right end of a row
SCALE = alt.Scale(domain=list(THEME_COLORS))


def agent_marks(agents: Sequence[str]) -> pd.DataFrame:
    """The color and the dash of each agent: `agent color dash`."""
    others = [agent for agent in agents if agent not in BASELINE_MARKS]
    marks = {agent: (COLORS[place % len(COLORS)], SOLID) for place, agent in enumerate(others)}
    marks |= BASELINE_MARKS
    return pd.DataFrame(
        [{"agent": agent, "color": marks[agent][0], "dash": marks[agent][1]} for agent in agents]
    )


def gain_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One row per agent: the confirmed gain as dot and interval, the claimed one as a diamond.

    Reads `rank agent gain_bpb gain_ci_low gain_ci_high claimed_gain_bpb n_studies`.
    """
    ends = zip(frame["gain_ci_low"], frame["gain_ci_high"], strict=True)
    rows = frame.assign(
        place=range(len(frame)),
        rank=frame["rank"].astype(str),
        says_gain=[bpb(gain) for gain in frame["gain_bpb"]],
        says_interval=[bpb_ends(low, high) for low, high in ends],
        says_claim=[bpb(gain) for gain in frame["claimed_gain_bpb"]],
    )
    about = {"agent": "agent", "says_gain": "confirmed", "says_interval": "95% interval"}
    about |= {"says_claim": "claimed", "n_studies": "studies"}
    columns = [*about, "rank", "place", "gain_bpb", "gain_ci_low", "gain_ci_high", "claimed_gain_bpb"]
    base = alt.Chart(rows[columns]).encode(
        y=alt.Y(field="place", type="ordinal", axis=None), tooltip=_tooltip(about)
    )
    return alt.LayerChart(layer=_gains(base), height=ROW_PX * len(rows) + AXIS_PX)


def _gains(base: alt.Chart) -> list[alt.Chart]:
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GREY, strokeWidth=1.5)
    bar = base.mark_rule(strokeWidth=4, opacity=0.4, strokeCap="round")
    dot = base.mark_point(filled=True, size=95, opacity=1)
    diamond = base.mark_point(shape="diamond", size=120, strokeWidth=2, opacity=1, filled=False)
    text = base.mark_text(baseline="middle", dy=-16, fontSize=FONT_PX)
    rank, name, gain = text.copy(), text.copy(), text.copy()
    rank.mark.align, name.mark.align, gain.mark.align = "left", "left", "right"
    name.mark.limit = alt.ExprRef(f"width - {RIGHT_PX + 20}")
    saved = "Bits per byte saved"
    return [
        zero.encode(x=_x("at", saved)),
        themed(
            bar.encode(x=_x("gain_ci_low", saved), x2=alt.X2(field="gain_ci_high")),
            "first",
        ),
        themed(diamond.encode(x=_x("claimed_gain_bpb", saved)), "ink"),
        themed(dot.encode(x=_x("gain_bpb", saved)), "first"),
        rank.encode(x=alt.value(0), text=alt.Text(field="rank", type="nominal"), color=alt.value(GREY)),
        themed(name.encode(x=alt.value(20), text=alt.Text(field="agent", type="nominal")), "ink"),
        themed(gain.encode(x=alt.value("width"), text=alt.Text(field="says_gain", type="nominal")), "ink"),
    ]


def _x(field: str, title: str) -> alt.X:
    axis = alt.Axis(title=title, gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    return alt.X(field=field, type="quantitative", axis=axis, scale=alt.Scale(padding=PAD_PX, nice=False))


def _tooltip(about: dict[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field=field, title=title, type="nominal") for field, title in about.items()]


def progress_chart(curves: pd.DataFrame, bands: pd.DataFrame, agents: Sequence[str]) -> alt.LayerChart:
    """Best so far by trial: a thin line per study, and between all seeds of a baseline a band.

    `curves` has `study_id agent seed number gain_bpb`, `bands` `agent number low high n_seeds`.
    """
    marks = agent_marks(agents)
    lines = curves.merge(marks, on="agent").assign(says_gain=lambda rows: rows["gain_bpb"].map(bpb))
    areas = bands[bands["n_seeds"] > 1].merge(marks[["agent", "color"]], on="agent")
    about = {"agent": "agent", "seed": "seed", "number": "trials", "says_gain": "bits per byte saved"}
    band = (
        alt.Chart(areas[["agent", "number", "low", "high", "color"]])
        .mark_area(interpolate="step-after", opacity=0.18)
        .encode(
            x=_trials(),
            y=_saved("low"),
            y2=alt.Y2(field="high"),
            color=_color(),
            detail=alt.Detail(field="agent", type="nominal"),
        )
    )
    columns = ["study_id", "agent", "seed", "number", "gain_bpb", "color", "says_gain"]
    line = (
        alt.Chart(lines[columns])
        .mark_line(interpolate="step-after", strokeWidth=1.6, opacity=0.9)
        .encode(
            x=_trials(),
            y=_saved("gain_bpb"),
            color=_color(),
            strokeDash=_dash(marks),
            detail=alt.Detail(field="study_id", type="nominal"),
            tooltip=_tooltip(about),
        )
    )
    layers = [line] if areas.empty else [band, line]
    return alt.LayerChart(layer=layers, height=HEIGHT_PX)


def _trials() -> alt.X:
    axis = alt.Axis(title="Trials", grid=False, ticks=False, domainColor=TRACK, tickMinStep=1, format="d")
    return alt.X(field="number", type="quantitative", axis=axis, scale=alt.Scale(nice=False))


def _saved(field: str) -> alt.Y:
    axis = alt.Axis(
        title="Bits per byte saved", gridColor=TRACK, domain=False, ticks=False, tickCount=5, titlePadding=8
    )
    return alt.Y(field=field, type="quantitative", axis=axis)


def _color() -> alt.Color:
    return alt.Color(field="color", type="nominal", legend=None, scale=SCALE)


def _dash(marks: pd.DataFrame) -> alt.StrokeDash:
    scale = alt.Scale(domain=list(marks["agent"]), range=list(marks["dash"]))
    return alt.StrokeDash(field="agent", type="nominal", legend=None, scale=scale)


def agent_legend(agents: Sequence[str]) -> alt.LayerChart:
    """The line of each agent, as a chart so that it follows the theme."""
    marks = agent_marks(agents)
    base = alt.Chart(marks[["agent", "color"]]).encode(
        y=alt.Y(field="agent", type="nominal", sort=list(agents), axis=None)
    )
    line = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.value(0), x2=alt.value(34), color=_color(), strokeDash=_dash(marks)
    )
    text = base.mark_text(align="left", baseline="middle", fontSize=FONT_PX).encode(
        x=alt.value(42), text=alt.Text(field="agent", type="nominal")
    )
    text.mark.limit = alt.ExprRef("width - 42")
    return alt.LayerChart(layer=[line, themed(text, "ink")], height=22 * len(agents) + 12)


def profile_chart(frame: pd.DataFrame, agents: Sequence[str]) -> alt.LayerChart:
    """The gain of each agent by category of change. Reads `agent category gain_bpb`."""
    rows = frame[frame["agent"].isin(agents)].merge(agent_marks(agents)[["agent", "color"]], on="agent")
    rows = rows.assign(says_gain=[bpb(gain) for gain in rows["gain_bpb"]], zero=0.0)
    categories = list(dict.fromkeys(rows["category"]))
    base = alt.Chart(rows).encode(
        y=alt.Y(
            field="category",
            type="nominal",
            sort=categories,
            axis=alt.Axis(title=None, domain=False, ticks=False, labelLimit=130, labelFontSize=FONT_PX),
            scale=alt.Scale(paddingInner=0.3),
        ),
        yOffset=alt.YOffset(field="agent", type="nominal", sort=list(agents)),
        color=_color(),
        tooltip=_tooltip({"agent": "agent", "category": "category", "says_gain": "bits per byte saved"}),
    )
    title = "Bits per byte saved"
    stem = base.mark_rule(strokeWidth=3).encode(x=_x("zero", title), x2=alt.X2(field="gain_bpb"))
    dot = base.mark_point(filled=True, size=55, opacity=1).encode(x=_x("gain_bpb", title))
    height = len(categories) * (BAR_PX * len(agents) + CATEGORY_PX) + AXIS_PX
    return alt.LayerChart(layer=[stem, dot], height=height)


def loss_chart(curves: pd.DataFrame) -> alt.Chart:
    """Training loss by tokens, a line per training. Reads `line role phase seed tokens loss`."""
    roles = list(dict.fromkeys(curves["role"]))
    rows = curves.assign(
        color=["first" if role == CANDIDATE else "ink" for role in curves["role"]],
        says_loss=[f"{loss:.4f}" for loss in curves["loss"]],
    )
    about = {"role": "script", "phase": "phase", "seed": "seed", "tokens": "tokens", "says_loss": "loss"}
    dashes = [SOLID if role == CANDIDATE else [4, 3] for role in roles]
    tokens = alt.Axis(title="Training tokens", grid=False, domainColor=TRACK, format="~s", tickCount=5)
    nats = alt.Axis(title="Loss (nats per token)", gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X(field="tokens", type="quantitative", axis=tokens),
            y=alt.Y(field="loss", type="quantitative", axis=nats, scale=alt.Scale(zero=False)),
            color=_color(),
            strokeDash=alt.StrokeDash(
                field="role", type="nominal", legend=None, scale=alt.Scale(domain=roles, range=dashes)
            ),
            detail=alt.Detail(field="line", type="nominal"),
            tooltip=_tooltip(about),
        )
        .properties(height=260)
    )
    return chart


def gain_alt(frame: pd.DataFrame) -> str:
    """`gain_chart` in words, for screen readers."""
    rows: list[dict[Any, Any]] = frame.to_dict("records")
    said = ", ".join(
        f"{row['agent']} confirmed {bpb(row['gain_bpb'])}, claimed {bpb(row['claimed_gain_bpb'])}"
        for row in rows
    )
    return f"Bits per byte saved by each agent, with 95% intervals: {said}"


def progress_alt(curves: pd.DataFrame, agents: Sequence[str]) -> str:
    """`progress_chart` in words, for screen readers."""
    last = curves.sort_values("number").groupby("study_id").last()
    said = [
        f"{agent} {bpb(ends.min())} to {bpb(ends.max())} over {counted(len(ends), 'study', 'studies')}"
        for agent in agents
        if len(ends := last[last["agent"] == agent]["gain_bpb"])
    ]
    return "Best bits per byte saved so far, by trial; final: " + ", ".join(said)


def profile_alt(frame: pd.DataFrame, agents: Sequence[str]) -> str:
    """`profile_chart` in words, for screen readers."""
    said = []
    for agent in agents:
        of_agent = frame[frame["agent"] == agent]
        if len(of_agent):
            best = of_agent.loc[of_agent["gain_bpb"].idxmax()]
            said.append(f"{agent} most from {best['category']}: {bpb(best['gain_bpb'])}")
    return "Bits per byte saved by category of change: " + ", ".join(said)


def loss_alt(curves: pd.DataFrame) -> str:
    """`loss_chart` in words, for screen readers."""
    last = curves.groupby("line").last()
    said = ", ".join(
        f"{role} {group['loss'].min():.3f} to {group['loss'].max():.3f}"
        for role, group in last.groupby("role")
    )
    return f"Loss of {counted(len(last), 'training')} by tokens; final loss in nats per token: {said}"
