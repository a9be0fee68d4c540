"""How precisely a figure is wanted: "p99 of home_timeline within 5% at 95%", and when that is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from model.analysis.intervals import Interval
from model.spec import ENDPOINTS, InputError

SUBJECTS = (*(endpoint.value for endpoint in ENDPOINTS), "delivery")
"""What has latencies or lags of its own."""
LEAST_REPLICATIONS = 30
"""The sequential rule looks at these first: the spread of fewer is too uncertain to stop by."""

_STATISTIC = re.compile(r"mean|p(\d{1,2}(?:\.\d+)?)")
_SENTENCE = re.compile(r"(\S+) of (\S+) within (\d+(?:\.\d+)?) ?% at (\d+(?:\.\d+)?) ?%")
_EXAMPLE = '"p99 of home_timeline within 5% at 95%"'


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic of the latencies of an endpoint, or of the delivery lags, in seconds."""

    statistic: str
    """``mean`` or ``pNN``."""
    subject: str
    """An endpoint, or ``delivery``."""

    def __post_init__(self) -> None:
        if self.subject not in SUBJECTS:
            raise InputError(f"a figure of {self.subject!r}; allowed: {', '.join(SUBJECTS)}")
        if not _STATISTIC.fullmatch(self.statistic) or self.q == 0:
            raise InputError(f"statistic {self.statistic!r}; allowed: mean, or a percentile as p50 or p99.9")

    @property
    def q(self) -> float | None:
        """The quantile, between 0 and 1; None for the mean."""
        return None if self.statistic == "mean" else float(self.statistic[1:]) / 100

    def __str__(self) -> str:
        return f"{self.statistic} of {self.subject}"


@dataclass(frozen=True, slots=True)
class Precision:
    """A figure whose interval, at a level of `confidence`, is to be no wider than `relative` of its value each way."""

    figure: Figure
    relative: float
    confidence: float

    @classmethod
    def parse(cls, text: str) -> Precision:
        """From a sentence: mean or pNN, "of" an endpoint or delivery, "within" X%, "at" Y%.

        Raises InputError for anything else, and unless 0.1 <= X <= 50 and 50 <= Y <= 99.9.
        """
        found = _SENTENCE.fullmatch(text.strip())
        if not found:
            raise InputError(f"precision {text!r}: expected a sentence such as {_EXAMPLE}")
        statistic, subject, within, at = found.groups()
        try:
            figure = Figure(statistic, subject)
        except InputError as error:
            raise InputError(f"precision {text!r}: {error}") from None
        for value, what, least, most in ((within, "within", 0.1, 50), (at, "at", 50, 99.9)):
            if not least <= float(value) <= most:
                raise InputError(f"precision {text!r}: {what} is {value}%; it must be from {least:g}% to {most:g}%")
        return cls(figure, float(within) / 100, float(at) / 100)

    @property
    def allowed(self) -> float:
        """The half-width over the *estimate* that makes it `relative` of the truth (Law 2015, 9.4.1)."""
        return self.relative / (1 + self.relative)

    def reached(self, interval: Interval) -> bool:
        """Whether this interval of n replications is narrow enough (Chow and Robbins 1965), not before
        `LEAST_REPLICATIONS`."""
        # What `at_stop` gives is as wide as allowed, but for rounding.
        return interval.sections >= LEAST_REPLICATIONS and interval.relative_half_width <= self.allowed * (1 + 1e-9)

    def at_stop(self, interval: Interval) -> Interval:
        """The interval to report where replications ended because this one was narrow enough.

        It is the one that was asked for, as in Chow and Robbins 1965, and not the narrower one that the spread says:
        one stops where the spread is small by chance, and on M/M/1 at load 0.9 such intervals of the p99 covered in
        92.5 %. Where the first look was enough, nothing was chosen, and the interval is the ordinary one.
        """
        if interval.sections <= LEAST_REPLICATIONS:
            return interval
        half_width = self.allowed * abs(interval.value)
        low, high = min(interval.low, interval.value - half_width), max(interval.high, interval.value + half_width)
        return replace(interval, low=low, high=high)

    def __str__(self) -> str:
        return f"{self.figure} within {100 * self.relative:g}% at {100 * self.confidence:g}%"


class StoppingRule:
    """When a sequence of replications is long enough for one precision; asked after every one, in order."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.stopped: Interval | None = None
        """What was known when it said yes (`Precision.at_stop`)."""

    def ask(self, interval: Interval) -> bool:
        """Whether to stop, given the interval of all replications so far; once yes, always yes."""
        if self.stopped is None and self.precision.reached(interval):
            self.stopped = self.precision.at_stop(interval)
        return self.stopped is not None
