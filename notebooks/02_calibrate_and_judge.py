# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Calibrate, and judge the fit
#
# A *calibration* says what each operation costs on one machine. It is measured on the real backend, once, and then
# held fixed. Whether the model deserves trust shows at a load that the calibration did not see: the same requests go
# to the model and to the real backend, and the two runs are laid side by side.
#
# `make demo` does all of this and leaves its results in `out/demo`. Without them, the next cell does it itself on a
# shorter run, which takes about two minutes: it starts PostgreSQL, Redis, the broker, the workers and the API,
# measures, and stops them again.

# %%
from pathlib import Path

import model
from model import Calibration, Run, Scenario

results = Path(model.__file__).parents[1] / "out" / "demo"
if (results / "summary.json").exists():
    calibration = Calibration.load(results / "calibration.json")
    real, predicted = Run.load(results / "real"), Run.load(results / "model")
else:
    from loadtests.demo import demo

    made = demo(Scenario.load("demo").with_(duration_s=20, warmup_s=3))
    calibration, real, predicted = made.calibration, made.real, made.model
real, predicted

# %% [markdown]
# ## What was measured
#
# Where and how it was made is part of a calibration; costs from one machine say little about another.

# %%
calibration.created, dict(calibration.machine)

# %% [markdown]
# The cost of a step is CPU time, `base_s + per_item_s * items`. Every estimate has a 90 % interval.

# %%
import polars as pl

costs = pl.DataFrame([
    {
        "step": name,
        "base_us": 1e6 * cost.base_s.value,
        "low_us": 1e6 * cost.base_s.low,
        "high_us": 1e6 * cost.base_s.high,
        "per_item_us": 1e6 * cost.per_item_s.value if cost.per_item_s else None,
        "cv": cost.cv,
    }
    for name, cost in calibration.steps.items()
]).sort("base_us", descending=True)  # fmt: skip
costs.head(12)

# %%
import matplotlib.pyplot as plt

from model.report.style import RC

plt.rcParams.update(RC)
dearest = costs.head(20).reverse()
errors = [dearest["base_us"] - dearest["low_us"], dearest["high_us"] - dearest["base_us"]]
figure, ax = plt.subplots(figsize=(8, 6), layout="constrained")
ax.errorbar(dearest["base_us"], dearest["step"], xerr=errors, fmt="o", capsize=3)
ax.set(xlabel="CPU per visit (us), 90 % interval", title="the dearest steps")
plt.show()

# %% [markdown]
# Processes pay besides for being woken, and hold the core without any request; some waits use no CPU at all.

# %%
pl.DataFrame([
    {"process": kind, "wake_us": 1e6 * cost.wake_s.value, "cpu_when_idle": calibration.background_cpu_share[kind]}
    for kind, cost in calibration.processes.items()
])  # fmt: skip

# %%
pl.DataFrame([
    {"wait": name, "least_us": 1e6 * wait.quantiles_s[0], "upper_us": 1e6 * wait.quantiles_s[-1], "n": wait.samples}
    for name, wait in calibration.waits.items()
])  # fmt: skip

# %%
calibration.stalls.rate_per_s

# %% [markdown]
# ## What could not be told apart
#
# The measured CPU time of a process is explained by what it did. Where two things always happened together, or too
# seldom, the data did not narrow the first guess: these parameters are named, and their figures are little more than
# what the probes said. Answers that hang on them deserve a second look.

# %%
calibration.unidentified

# %% [markdown]
# How well the sum of the parts explains each role's CPU time, slice by slice: the residuals are relative.

# %%
pl.DataFrame([
    {"role": role, "median_abs_residual": fit["median_abs_residual"], "worst_abs_residual": fit["worst_abs_residual"]}
    for role, fit in calibration.diagnostics["roles"].items()
])  # fmt: skip

# %%
pl.DataFrame(calibration.diagnostics["slices"])

# %% [markdown]
# ## The prediction against the measurement
#
# The demo runs at another load and another mix than any slice of the calibration. First: does the measurement itself
# count? A generator that lagged its schedule would make the backend look slow.

# %%
real.validity, {name: real.provenance["generator"][name] for name in ("slip_p99_s", "cpu_share")}

# %%
from rich.console import Console

from model import compare
from model.report.tables import render

comparison = compare(real, predicted, allow_invalid=True)
Console(width=110).print(render(comparison))

# %% [markdown]
# An error is the model's figure minus the measured one, over the measured one. A quantile is only scored where at
# least 100 observations lie above it on both sides. `misses` lists what lies beyond the targets.

# %%
comparison.median_abs_error, comparison.worst_error, comparison.misses()

# %%
from model.report.plots import plot_gauge, plot_lag, plot_latency, plot_utilisation

figure, axes = plt.subplots(2, 3, figsize=(15, 7.5), layout="constrained")
plot_latency(axes[0, 0], comparison, "home_timeline")
plot_latency(axes[0, 1], comparison, "create_post")
plot_latency(axes[0, 2], comparison, "profile")
plot_lag(axes[1, 0], comparison, "delivery")
plot_gauge(axes[1, 1], comparison, "fanout_queue_length")
plot_utilisation(axes[1, 2], comparison)
plt.show()

# %% [markdown]
# Where the model is off, the utilisation tells what kind of error it is. If the shares of the core agree, the demands
# are right and the waiting is not; if they differ, look at the process that differs most and at its intervals above.
#
# ## How much of an answer is the calibration's uncertainty?
#
# The intervals are there to be used: replace the base costs by their upper ends and simulate the same requests again.

# %%
from loadtests.demo import core_speed
from model import simulate

dear = calibration.model_copy(update={
    "steps": {
        name: cost.model_copy(update={"base_s": cost.base_s.model_copy(update={"value": cost.base_s.high})})
        for name, cost in calibration.steps.items()
    },
})  # fmt: skip
# At the speed that the core had during the measurement, as the model's run beside it.
dearer = simulate(predicted.scenario, dear.at_speed(core_speed(real)))
pl.DataFrame([
    {
        "run": name,
        "p50_ms": 1e3 * run.latency("home_timeline").quantile(0.5),
        "p95_ms": 1e3 * run.latency("home_timeline").quantile(0.95),
        "backend": run.utilisation["backend"],
    }
    for name, run in {"measured": real, "model": predicted, "model, base costs at their upper ends": dearer}.items()
])  # fmt: skip

# %% [markdown]
# All of them at their upper ends together is a pessimist's bound, not a 90 % interval of the answer: the estimates of
# one role are negatively correlated, since together they have to explain what was measured.
