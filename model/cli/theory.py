"""How the theory that goes with a run is shown."""

from __future__ import annotations

from collections.abc import Iterator

from model.analysis.closed_forms import ClosedForm
from model.analysis.theory import Theory
from model.report.words import milliseconds, percent, significant


def theory_lines(theory: Theory) -> Iterator[str]:
    """One line per closed form that applies, and one for the operational laws."""
    for form in theory.applying:
        yield f"{form.station}: {form.model} ({form.source}) has {_results(form)}"
    laws = []
    if theory.little:
        law = theory.little
        laws.append(
            f"Little's law: {significant(law.in_flight)} in flight, {significant(law.rate_per_s)}/s x "
            f"{milliseconds(law.residence_s)} ms = {significant(law.rate_times_residence)} "
            f"± {significant(law.half_width)}{'' if law.holds else ', does not hold: the run is not stationary'}"
        )
    if theory.utilisation:
        use = theory.utilisation
        laws.append(
            f"utilisation law: {significant(use.rate_per_s)}/s x {milliseconds(use.demand_s)} ms of steps = "
            f"{percent(use.rate_times_demand)}, of {percent(use.utilisation)} busy (the rest: wake-ups, polls, timers)"
        )
    if laws:
        yield from laws


def _results(form: ClosedForm) -> str:
    named = {name.removesuffix("_s"): value for name, value in form.results.items()}
    return ", ".join(
        f"{name} {percent(value)}" if name == "blocked" else f"{name} {milliseconds(value)} ms"
        for name, value in named.items()
    )
