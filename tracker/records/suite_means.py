"""Record of a run that ended once the mean of its tasks was known."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-5  # of the ends of an interval that is found by bisection


@dataclass(frozen=True, slots=True)
class SuiteMean:
    """The mean of the scores of several tasks, each counted equally, as fractions of 1.

    The 95% interval is valid at every look, so that one may stop at any.
    """

    tasks: tuple[str, ...]
    value: float
    ci_low: float
    ci_high: float
    n_items: int
    n_total: int  # items that the tasks have
    wanted_half_width: float  # at which the run was to end

    def __post_init__(self) -> None:
        """Check the order of the ends, and the number of items."""
        if not 0.0 <= self.ci_low <= self.value <= self.ci_high <= 1.0:
            raise ValueError(f"mean {self.value} is not in {self.ci_low}..{self.ci_high}")
        if not 1 <= self.n_items <= self.n_total:
            raise ValueError(f"n_items must be in 1..{self.n_total}, got {self.n_items}")

    @property
    def is_reached(self) -> bool:
        """Whether the interval is as narrow as was asked for."""
        half_width = max(self.value - self.ci_low, self.ci_high - self.value)
        return half_width <= self.wanted_half_width + ROUNDING
