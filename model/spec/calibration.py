"""The Calibration: what each operation costs on one machine, with uncertainty and provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.spec.errors import InputError
from model.spec.steps import STEPS, WAITS, Process

CALIBRATION_VERSION = 2

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Frozen):
    """A value with its 90 % interval, both in the unit that the field's name says."""

    value: NonNegative
    low: NonNegative
    high: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low {self.low:g} <= value {self.value:g} <= high {self.high:g} must hold")
        return self

    def times(self, factor: float) -> Estimate:
        """Value and interval, scaled."""
        return Estimate(value=self.value * factor, low=self.low * factor, high=self.high * factor)


class StepCost(_Frozen):
    """CPU time of one step: ``base_s + per_item_s * items``, its variation between visits given by `cv`."""

    base_s: Estimate
    per_item_s: Estimate | None = None
    cv: NonNegative = 0.0
    """Coefficient of variation of one visit's CPU time (lognormal)."""


class ProcessCost(_Frozen):
    """What a process pays besides its steps."""

    wake_s: Estimate
    """Once at the start of a busy period: leaving the blocked state, cold caches, the first poll."""
    poll_s: Estimate
    """Once for every further batch of ready work (one return to the event loop's poll)."""


class Wait(_Frozen):
    """A distribution as a table of quantiles in seconds at `probabilities`, linear between them; beyond the last
    one an exponential tail of mean `tail_mean_s`."""

    probabilities: tuple[float, ...]
    quantiles_s: tuple[NonNegative, ...]
    tail_mean_s: NonNegative = 0.0
    samples: int = 0

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        p, q = self.probabilities, self.quantiles_s
        if (
            len(p) != len(q)
            or len(p) < 2
            or p[0] != 0
            or p[-1] > 1
            or list(p) != sorted(set(p))
            or list(q) != sorted(q)
        ):
            raise ValueError("probabilities must rise strictly from 0, quantiles_s must not fall, both of one length")
        return self

    @property
    def mean_s(self) -> float:
        """Mean of the interpolated quantiles and the tail."""
        p, q = self.probabilities, self.quantiles_s
        body = sum((q[i] + q[i + 1]) / 2 * (p[i + 1] - p[i]) for i in range(len(p) - 1))
        return body + (1 - p[-1]) * (q[-1] + self.tail_mean_s)


class Stalls(_Frozen):
    """Times in which the whole backend core is taken away, as a hiccup meter saw them."""

    rate_per_s: NonNegative = 0.0
    duration: Wait | None = None


class Calibration(_Frozen):
    """Costs measured on ONE configuration. Read with `Calibration.load`; the model never changes it."""

    version: int = CALIBRATION_VERSION
    created: str
    """UTC time, ISO 8601."""
    machine: Mapping[str, Any]
    """CPU model, cores, kernel, Python and server versions, rig settings."""
    scenario_digest: str
    """Digest of the scenario that was measured."""
    steps: Mapping[str, StepCost]
    processes: Mapping[Process, ProcessCost]
    waits: Mapping[str, Wait]
    stalls: Stalls = Stalls()
    core_speed: NonNegative = 0.0
    """What the rig's speedometer said while the costs were measured; 0 where it did not run."""
    background_cpu_share: Mapping[Process, NonNegative] = {}
    """CPU a process uses per second without any request (timers, housekeeping), as a share of one core."""
    telemetry_s_per_request: NonNegative = 0.0
    """What the always-on counters and timings cost; already contained in the API's steps."""
    unidentified: tuple[str, ...] = ()
    """Parameters that the data could not tell apart."""
    diagnostics: Mapping[str, Any] = {}
    """Goodness of the fit, for people."""

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for kind, given, known in (("step", self.steps, STEPS), ("wait", self.waits, WAITS)):
            unknown, missing = sorted(set(given) - set(known)), sorted(set(known) - set(given))
            if unknown:
                raise ValueError(f"unknown {kind} {unknown[0]!r}")
            if missing:
                raise ValueError(f"{kind} {missing[0]!r} is missing")
        if absent := [process.value for process in Process if process not in self.processes]:
            raise ValueError(f"process {absent[0]!r} is missing")
        return self

    def at_speed(self, core_speed: float) -> Calibration:
        """The same costs on a core of another speed (as the speedometer measures it): all CPU times scaled.

        On a shared host a core's speed changes within minutes; the speedometer measures it beside a run without
        touching the backend. Unchanged where either speed is unknown (0).
        """
        if not (self.core_speed and core_speed):
            return self
        slower = self.core_speed / core_speed
        steps = {
            name: cost.model_copy(
                update={
                    "base_s": cost.base_s.times(slower),
                    "per_item_s": cost.per_item_s.times(slower) if cost.per_item_s else None,
                }
            )
            for name, cost in self.steps.items()
        }
        processes = {
            process: ProcessCost(wake_s=cost.wake_s.times(slower), poll_s=cost.poll_s.times(slower))
            for process, cost in self.processes.items()
        }
        background = {process: share * slower for process, share in self.background_cpu_share.items()}
        return self.model_copy(
            update={
                "steps": steps,
                "processes": processes,
                "background_cpu_share": background,
                "core_speed": core_speed,
            }
        )

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a JSON file. Raises InputError naming the file and the field, also for another schema version."""
        path = Path(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"calibration {path}: cannot be read ({error})") from None
        version = document.get("version") if isinstance(document, dict) else None
        if version != CALIBRATION_VERSION:
            raise InputError(
                f"calibration {path}: version is {version!r}; this feedtwin reads version {CALIBRATION_VERSION}; "
                "make a new one with 'feedtwin calibrate'"
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            message = str(first["msg"]).removeprefix("Value error, ")
            raise InputError(f"calibration {path}: {field + ': ' if field else ''}{message}") from None

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @property
    def digest(self) -> str:
        """A hash of the whole content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
