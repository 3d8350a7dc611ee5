"""Records of a run that is measured against another model on the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class PairedVerdict(StrEnum):
    """The measured model beside its reference."""

    BETTER = "better"
    WORSE = "worse"
    NOT_TOLD_APART = "not told apart"


@dataclass(frozen=True, slots=True)
class PairedReference:
    """A model measured here, and where its answers are stored."""

    model_id: str
    fingerprints: Mapping[str, Mapping[str, str]]  # suite → task → fingerprint of its items


@dataclass(frozen=True, slots=True)
class PairedOutcome:
    """Model minus reference on the items of one task that both answered, as fractions of 1.

    The 95% interval is valid at every look, so that one may stop at any.
    """

    reference: str  # its model_id
    task: str
    n_items: int
    n_total: int  # items of the task that the reference had answered
    difference: float
    ci_low: float
    ci_high: float

    def __post_init__(self) -> None:
        """Check the order of the ends, and the number of items."""
        if not -1.0 <= self.ci_low <= self.difference <= self.ci_high <= 1.0:
            raise ValueError(f"{self.task}: {self.difference} is not in {self.ci_low}..{self.ci_high}")
        if not 1 <= self.n_items <= self.n_total:
            raise ValueError(f"{self.task}: n_items must be in 1..{self.n_total}, got {self.n_items}")

    @property
    def verdict(self) -> PairedVerdict:
        """Better or worse if the interval excludes 0."""
        if self.ci_low > 0:
            return PairedVerdict.BETTER
        return PairedVerdict.WORSE if self.ci_high < 0 else PairedVerdict.NOT_TOLD_APART
