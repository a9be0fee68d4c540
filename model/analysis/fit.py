"""From counted operations and process CPU time to the CPU cost of each step.

Spans of an asynchronous server contain queueing, so demands are not read off them. Instead, per process role, the CPU
time of each measured slice is regressed on what the process did in it:

    cpu_k = sum_g theta_g * prior_gk + wake_s * wakes_k + background * duration_k

where `prior_gk` is what the operations of group g would have cost by the probes (``sum over steps of base * visits +
per_item * items``): probes and in-process timings say how a group's cost divides among its steps and sizes, the
regression says what it really is under load. Solved as a bounded, weighted least-squares problem with a normal prior
on each parameter (Tikhonov, "ridge"), which is the posterior mode; its curvature gives the intervals, and a parameter
whose interval the data did not narrow is named as unidentified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

from model.spec import InputError
from model.spec.calibration import Estimate

FloatArray = npt.NDArray[np.float64]
Z90 = 1.6449
RELATIVE_NOISE = 0.03
"""Standard deviation of a slice's CPU time that the sum of groups cannot explain: drift, cache warmth, sampling.
Repeated slices on a shared machine scattered by 3 % once the core's speed was accounted for."""
NARROWED = 0.8
"""A parameter counts as identified when the data shrink its prior standard deviation below this share."""


@dataclass(frozen=True)
class Visits:
    """How often a step was visited in a slice, and the items of those visits in all."""

    visits: float = 0.0
    items: float = 0.0


@dataclass(frozen=True)
class Slice:
    """One stretch of load: what each role used and what was done, between two readings of the same counters."""

    name: str
    duration_s: float
    cpu_s: Mapping[str, float]
    """By role, for example ``api``, ``redis``, ``primary.backends``."""
    wakes: Mapping[str, float]
    steps: Mapping[str, Visits]
    speed: float = 1.0
    """Of the core during the slice, relative to the reference: CPU times are multiplied by it."""
    noise: float = RELATIVE_NOISE
    """Larger where a slice is only loosely comparable: caches are cold on an idle machine."""


@dataclass(frozen=True)
class Prior:
    """What the probes say one step costs."""

    base_s: float
    per_item_s: float = 0.0
    cv: float = 0.0

    def of(self, visits: Visits) -> float:
        """CPU seconds of these visits."""
        return self.base_s * visits.visits + self.per_item_s * visits.items


@dataclass(frozen=True)
class Group:
    """Steps that always come together, or are alike, so that one scale theta serves them all."""

    steps: Sequence[str]
    scale_sd: float = 0.5
    """Prior standard deviation of theta around 1: how far the probes are trusted."""


@dataclass(frozen=True)
class Role:
    """A kind of process with its groups of steps, by name."""

    name: str
    groups: Mapping[str, Group]
    wake_s: float = 0.0
    """Prior mean of a wake-up's cost; 0 leaves wake-ups out."""
    wake_sd_s: float = 0.0
    background: bool = True


@dataclass(frozen=True)
class Fitted:
    """What the regression found for one role."""

    scales: Mapping[str, Estimate]
    """theta by group."""
    wake_s: Estimate
    background_share: Estimate
    unidentified: tuple[str, ...]
    residuals: FloatArray = field(repr=False, default_factory=lambda: np.zeros(0))
    """(measured - fitted) / measured CPU time per slice."""

    @property
    def worst_residual(self) -> float:
        return float(np.abs(self.residuals).max(initial=0.0))


def fit_role(role: Role, priors: Mapping[str, Prior], slices: Sequence[Slice]) -> Fitted:
    """Fit one role over the slices. Raises InputError for too few slices or a role without CPU time."""
    if len(slices) < 3:
        raise InputError(f"calibration: {len(slices)} slices; at least 3 are needed to tell demands apart")
    measured = np.array([s.cpu_s[role.name] * s.speed for s in slices])
    if not (np.isfinite(measured).all() and measured.max() > 0):
        raise InputError(f"calibration: no CPU time was measured for {role.name}")
    columns = [
        [sum(priors[step].of(s.steps.get(step, Visits())) for step in group.steps) for s in slices]
        for group in role.groups.values()
    ]
    columns.append([s.wakes.get(role.name, 0.0) if role.wake_s > 0 else 0.0 for s in slices])
    columns.append([s.duration_s if role.background else 0.0 for s in slices])
    design = np.array(columns, float).T
    mean = np.array([*np.ones(len(role.groups)), role.wake_s, 0.0])
    sd = np.array([*(group.scale_sd for group in role.groups.values()), max(role.wake_sd_s, 1e-9), 0.01])
    weight = 1 / (np.array([s.noise for s in slices]) * np.maximum(measured, 0.02 * measured.max()))
    rows = np.vstack([design * weight[:, None], np.diag(1 / sd)])
    values = np.concatenate([measured * weight, mean / sd])
    low = np.array([*np.full(len(role.groups), 0.05), 0.0, 0.0])
    # Scaled by the prior's width, so that the solver sees parameters of one size.
    solution = lsq_linear(rows * sd, values, (low / sd, np.inf)).x * sd
    spread = np.sqrt(np.diag(np.linalg.inv((rows * sd).T @ (rows * sd)))) * sd
    fitted = design @ solution
    # Slices that scatter more than was assumed make everything that rests on them less certain.
    spread *= max(1.0, float(np.sqrt(np.mean(((measured - fitted) * weight) ** 2))))
    estimates = [
        Estimate(value=float(v), low=float(max(0.0, v - Z90 * s)), high=float(v + Z90 * s))
        for v, s in zip(solution, spread, strict=True)
    ]
    names = [*(f"{role.name}: {group}" for group in role.groups), f"{role.name}: wake-up", f"{role.name}: background"]
    used = [True] * len(role.groups) + [role.wake_s > 0, role.background]
    unidentified = tuple(name for name, s, p, u in zip(names, spread, sd, used, strict=True) if u and s > NARROWED * p)
    return Fitted(
        scales=dict(zip(role.groups, estimates, strict=False)),
        wake_s=estimates[-2],
        background_share=estimates[-1],
        unidentified=unidentified,
        # A slice in which the role did next to nothing says nothing about how well its demands are known.
        residuals=((measured - fitted) / np.maximum(measured, 1e-12))[measured > 0.1 * measured.max()],
    )


def scaled(prior: Prior, scale: Estimate) -> tuple[Estimate, Estimate | None]:
    """Base and per-item cost of a step whose group was scaled by theta."""
    return scale.times(prior.base_s), scale.times(prior.per_item_s) if prior.per_item_s > 0 else None
