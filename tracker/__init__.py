"""Tracks how close open-weight models are to the closed frontier, from runs on your own card.

    import tracker

    home = tracker.open_home()
    home.frontier().gaps

The names are those of `tracker.api`, imported when one is first used: every command imports this module.
"""

__version__ = "0.1.0"

__all__ = [
    "BenchmarkAnswer",
    "BenchmarkScore",
    "BestSoFar",
    "BestThatFits",
    "BoardGap",
    "BoardHistory",
    "CardPlan",
    "Comparison",
    "EngineSettings",
    "Event",
    "ExportOutcome",
    "FitAnswer",
    "FrontierAnswer",
    "Gap",
    "GapHistory",
    "Home",
    "ImportOutcome",
    "LadderResult",
    "LatencyBound",
    "ModelThatFits",
    "Outlook",
    "Placement",
    "PlannedCard",
    "Repeatability",
    "Run",
    "SpeedEvent",
    "SpeedLoad",
    "SpeedRun",
    "TokenShare",
    "TrackerError",
    "Unplaced",
    "WhatFits",
    "open_home",
]

# Not from `typing`: nothing may be imported before `tracker.__main__` has left the working directory.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tracker.api import (
        BenchmarkAnswer,
        BenchmarkScore,
        BestSoFar,
        BestThatFits,
        BoardGap,
        BoardHistory,
        CardPlan,
        Comparison,
        EngineSettings,
        Event,
        ExportOutcome,
        FitAnswer,
        FrontierAnswer,
        Gap,
        GapHistory,
        Home,
        ImportOutcome,
        LadderResult,
        LatencyBound,
        ModelThatFits,
        Outlook,
        Placement,
        PlannedCard,
        Repeatability,
        Run,
        SpeedEvent,
        SpeedLoad,
        SpeedRun,
        TokenShare,
        TrackerError,
        Unplaced,
        WhatFits,
        open_home,
    )


def __getattr__(name: str) -> object:
    """A name of the Python interface."""
    if name not in __all__:
        raise AttributeError(f"module `tracker` has no attribute `{name}`")
    from tracker import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """What there is, for completion."""
    return sorted([*globals(), *__all__])
