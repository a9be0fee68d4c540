"""What a check compares: an exact value, an estimate with its interval, and when the two agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Relation = Literal["equal", "at most"]
Verdict = Literal["agrees", "differs", "too noisy"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number that theory gives and the engine was measured for.

    The interval must be narrow as well: one that is wider than `largest_half_width` holds anything, and says nothing.
    """

    name: str
    unit: str
    """"s", "1/s", "customers", "keys" or "" for a probability."""
    exact: float
    estimate: float
    half_width: float
    """Of the interval about the estimate, at the level that `verification` states; 0 where nothing is random."""
    largest_half_width: float
    allowed: float = 0.0
    """How far the closed form itself may be off: it is an approximation, or the engine's tables are."""
    relation: Relation = "equal"

    @property
    def verdict(self) -> Verdict:
        if self.half_width > self.largest_half_width:
            return "too noisy"
        room = self.half_width + self.allowed
        difference = self.estimate - self.exact
        agrees = difference <= room if self.relation == "at most" else abs(difference) <= room
        return "agrees" if agrees else "differs"

    @property
    def passed(self) -> bool:
        return self.verdict == "agrees"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "quantity": self.name, "unit": self.unit, "relation": self.relation, "exact": self.exact,
            "estimate": self.estimate, "half_width": self.half_width, "largest_half_width": self.largest_half_width,
            "allowed": self.allowed, "verdict": self.verdict,
        }  # fmt: skip
