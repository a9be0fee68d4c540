"""The regression of CPU on operations: demands that were put in come out, and what cannot be told apart is named."""

from __future__ import annotations

import numpy as np
import pytest

from model.analysis.fit import Group, Prior, Role, Slice, Visits, fit_role, scaled
from model.rng.streams import generator
from model.spec import InputError

PRIORS = {"read": Prior(100e-6, 2e-6), "write": Prior(300e-6), "rare": Prior(50e-6)}
ROLE = Role(
    "server",
    {"reads": Group(("read",)), "writes": Group(("write",), 1.0), "rare": Group(("rare",))},
    wake_s=20e-6,
    wake_sd_s=20e-6,
)
TRUE = {"reads": 1.3, "writes": 0.8}
WAKE_S = 30e-6
BACKGROUND = 0.002


def slices(noise: float = 0.0, speeds: bool = False, count: int = 12, mixes: bool = True) -> list[Slice]:
    """Slices of 4 s with rotating mixes and loads; the rare operation never happens."""
    random = generator(5, "slices")
    made = []
    for k in range(count):
        rate = 100.0 * (1 + k % 3)
        share = (0.2 + 0.15 * (k % 5)) if mixes else 0.5
        reads, writes = 4 * rate * share, 4 * rate * (1 - share)
        wakes = (reads + writes) * (2.0 - 0.5 * (k % 3))
        cpu = (
            TRUE["reads"] * PRIORS["read"].of(Visits(reads, 20 * reads))
            + TRUE["writes"] * PRIORS["write"].of(Visits(writes))
            + WAKE_S * wakes
            + BACKGROUND * 4
        )
        speed = 0.7 + 0.05 * (k * 7 % 11) if speeds else 1.0
        used = cpu / speed * (1 + noise * random.standard_normal())
        steps = {"read": Visits(reads, 20 * reads), "write": Visits(writes)}
        made.append(Slice(f"slice {k}", 4.0, {"server": used}, {"server": wakes}, steps, speed=speed))
    return made


@pytest.mark.parametrize("speeds", [False, True], ids=["steady", "a core of changing speed"])
def test_what_was_put_in_comes_out(speeds: bool) -> None:
    fitted = fit_role(ROLE, PRIORS, slices(speeds=speeds))
    for group, scale in TRUE.items():
        assert fitted.scales[group].value == pytest.approx(scale, rel=0.03)
    assert fitted.wake_s.value == pytest.approx(WAKE_S, rel=0.15)
    assert fitted.worst_residual < 0.01
    base, per_item = scaled(PRIORS["read"], fitted.scales["reads"])
    assert per_item is not None
    assert base.value == pytest.approx(130e-6, rel=0.03)
    assert per_item.value == pytest.approx(2.6e-6, rel=0.03)


def test_without_the_speed_a_changing_core_spoils_the_fit() -> None:
    drifting = slices(speeds=True)
    blind = [Slice(s.name, s.duration_s, s.cpu_s, s.wakes, s.steps) for s in drifting]
    assert fit_role(ROLE, PRIORS, blind).worst_residual > 5 * fit_role(ROLE, PRIORS, drifting).worst_residual


def test_what_never_happened_is_named_and_keeps_its_prior() -> None:
    fitted = fit_role(ROLE, PRIORS, slices())
    assert "server: rare" in fitted.unidentified
    assert "server: reads" not in fitted.unidentified
    assert fitted.scales["rare"].value == pytest.approx(1.0, abs=0.01)


def test_one_mix_does_not_tell_reads_from_writes() -> None:
    told = fit_role(ROLE, PRIORS, slices())
    untold = fit_role(ROLE, PRIORS, slices(mixes=False))
    width = {name: told.scales[name].high - told.scales[name].low for name in TRUE}
    assert all(untold.scales[name].high - untold.scales[name].low > 2 * width[name] for name in TRUE)


def test_intervals_widen_with_the_scatter_and_cover() -> None:
    quiet, noisy = fit_role(ROLE, PRIORS, slices()), fit_role(ROLE, PRIORS, slices(noise=0.15))
    for name, scale in TRUE.items():
        assert noisy.scales[name].high - noisy.scales[name].low > 1.5 * (
            quiet.scales[name].high - quiet.scales[name].low
        )
        assert noisy.scales[name].low <= scale <= noisy.scales[name].high


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="2 slices; at least 3"):
        fit_role(ROLE, PRIORS, slices(count=2))
    idle = [Slice(s.name, s.duration_s, {"server": 0.0}, s.wakes, s.steps) for s in slices()]
    with pytest.raises(InputError, match="no CPU time was measured for server"):
        fit_role(ROLE, PRIORS, idle)
    assert np.isfinite(fit_role(ROLE, PRIORS, slices()).residuals).all()
