"""Sentences that say how precise a figure has to be, and the rule that stops by them."""

from __future__ import annotations

import pytest

from model.analysis.intervals import Interval
from model.analysis.precision import LEAST_REPLICATIONS, Figure, Precision, StoppingRule
from model.spec import InputError


@pytest.mark.parametrize(
    ("sentence", "statistic", "q", "subject", "relative", "confidence"),
    [
        ("p99 of home_timeline within 5% at 95%", "p99", 0.99, "home_timeline", 0.05, 0.95),
        ("p99 of home_timeline within 5 % at 95 %", "p99", 0.99, "home_timeline", 0.05, 0.95),
        ("mean of delivery within 0.5% at 99.9%", "mean", None, "delivery", 0.005, 0.999),
        (" p99.9 of react within 20% at 80%", "p99.9", 0.999, "react", 0.2, 0.8),
    ],
)  # fmt: skip
def test_sentences(
    sentence: str, statistic: str, q: float | None, subject: str, relative: float, confidence: float
) -> None:
    precision = Precision.parse(sentence)
    assert precision.figure == Figure(statistic, subject)
    assert precision.figure.q == (None if q is None else pytest.approx(q))
    assert [precision.relative, precision.confidence] == pytest.approx([relative, confidence])
    assert Precision.parse(str(precision)) == precision


@pytest.mark.parametrize(
    ("sentence", "complaint"),
    [
        ("p99 of home within 5% at 95%", "a figure of 'home'; allowed: home_timeline, profile"),
        ("p99 home_timeline within 5% at 95%", "expected a sentence such as"),
        ("p99 of home_timeline within 5 at 95", "expected a sentence such as"),
        ("p99 of home_timeline within 5% at 95% please", "expected a sentence such as"),
        ("", "expected a sentence such as"),
        ("median of react within 5% at 95%", "statistic 'median'; allowed: mean, or a percentile"),
        ("p0 of react within 5% at 95%", "statistic 'p0'"),
        ("p100 of react within 5% at 95%", "statistic 'p100'"),
        ("mean of react within 0% at 95%", "within is 0%; it must be from 0.1% to 50%"),
        ("mean of react within 60% at 95%", "within is 60%"),
        ("mean of react within 5% at 100%", "at is 100%; it must be from 50% to 99.9%"),
    ],
)
def test_what_is_no_such_sentence_is_named(sentence: str, complaint: str) -> None:
    with pytest.raises(InputError) as error:
        Precision.parse(sentence)
    assert repr(sentence) in str(error.value)
    assert complaint in str(error.value)


def interval(half_width: float, n: int) -> Interval:
    return Interval(1.0, 1.0 - half_width, 1.0 + half_width, 0.95, n)


def test_the_rule_does_not_look_early_and_stops_once() -> None:
    rule = StoppingRule(Precision.parse("mean of react within 10% at 95%"))
    n = LEAST_REPLICATIONS
    assert not any(rule.ask(interval(0.01, count)) for count in range(2, n))
    assert not rule.ask(interval(0.095, n)), "0.1 / 1.1 of the estimate is 0.1 of the truth"
    assert rule.ask(interval(0.09, n + 1))
    assert rule.ask(interval(0.2, n + 2)), "once stopped, stopped"
    assert rule.stopped is not None
    assert rule.stopped.sections == n + 1


def test_what_is_reported_at_the_stop_is_what_was_asked_for() -> None:
    """Unless the first look was enough, so that no small spread was waited for."""
    precision = Precision.parse("mean of react within 10% at 95%")
    first = interval(0.02, LEAST_REPLICATIONS)
    assert precision.at_stop(first) == first
    later = precision.at_stop(interval(0.08, LEAST_REPLICATIONS + 1))
    assert [later.low, later.high] == pytest.approx([1 - 0.1 / 1.1, 1 + 0.1 / 1.1])
    assert precision.reached(later)
    wide = interval(0.3, LEAST_REPLICATIONS + 1)
    assert precision.at_stop(wide) == wide
