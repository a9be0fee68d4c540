"""Sentences that say how precise a figure has to be, and the rule that stops by them."""

from __future__ import annotations

import pytest

from model.analysis.intervals import Interval
from model.analysis.precision import LEAST_REPLICATIONS, LOOK_AHEAD, Figure, Precision, StoppingRule
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


def test_the_rule_does_not_stop_early_nor_by_a_spread_that_is_small_by_chance() -> None:
    precision = Precision.parse("mean of react within 10% at 95%")

    def interval(half_width: float, n: int) -> Interval:
        return Interval(1.0, 1.0 - half_width, 1.0 + half_width, 0.95, n)

    rule = StoppingRule(precision)
    assert not any(rule.ask(interval(0.01, n)) for n in range(2, LEAST_REPLICATIONS))
    n = LEAST_REPLICATIONS
    assert not rule.ask(interval(0.09, n))
    assert not rule.ask(interval(0.095, n + 1)), "0.1 / 1.1 of the estimate is 0.1 of the truth"
    assert not any(rule.ask(interval(0.09, n + 2 + further)) for further in range(LOOK_AHEAD))
    assert rule.ask(interval(0.09, n + 2 + LOOK_AHEAD))
    assert rule.ask(interval(0.2, n + 3 + LOOK_AHEAD)), "once done, done"
