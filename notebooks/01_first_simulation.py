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
# # A first simulation
#
# A *scenario* says what to run: who the users are, what they do, how large the platform is, which policies it
# follows. The model serves the scenario's requests one by one and returns a *run*: what every request and every
# message saw.
#
# This file is a notebook in text form: open it in Jupyter with jupytext, or run it with `make notebooks`.

# %%
from model import Scenario, simulate

scenario = Scenario.load("baseline")
run = simulate(scenario)
run.latency("home_timeline").quantile(0.99)  # seconds

# %% [markdown]
# Five lines. The first call in a fresh environment also compiles the engine, which takes a while; later ones do not.
#
# ## What a run holds
#
# Every figure comes from a histogram: of latencies by endpoint, and of three lags. Delivery lag is the time from a
# post's commit to its arrival in a follower's timeline. The warm-up is kept, but left out of all that follows.

# %%
run

# %%
delivery = run.lag("delivery")
delivery.n, delivery.mean_s, delivery.quantile(0.5), delivery.quantile(0.99)

# %%
run.offered_per_s, run.achieved_per_s, run.hit_ratio, run.utilisation

# %% [markdown]
# The tables behind the figures are polars frames, one row per observation or bucket: see `docs/run.md`. Where does a
# home timeline spend its time? `residence_ns` is waiting and service together, summed over all visits of a step.

# %%
import polars as pl

run.steps.filter(pl.col("visits") > 0).with_columns(
    (pl.col("residence_ns") / pl.col("visits") / 1e3).round(1).alias("mean_us"),
    (pl.col("residence_ns") / run.n_requests / 1e3).round(1).alias("us_per_request"),
).sort("us_per_request", descending=True).head(10)

# %%
run.requests.sort("latency_s", descending=True).head(5)  # the slowest of the sampled requests

# %% [markdown]
# Plots go into matplotlib axes that you make. A latency distribution is drawn as the share of requests that took
# longer.

# %%
import matplotlib.pyplot as plt

from model.report.style import RC

plt.rcParams.update(RC)  # the look of feedtwin's reports
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for endpoint in run.endpoints:
    run.plot_latency(axes[0], endpoint, label=endpoint)
axes[0].tick_params(axis="x", which="minor", labelrotation=60)
axes[0].legend()
run.plot_gauge(axes[1], "utilisation", "backend")
axes[1].set_ylim(0, 1)
plt.show()

# %% [markdown]
# ## Two policies, compared
#
# `with_` makes a validated copy; `__` stands for the dot of the field's path. In the scenario `celebrity-storm` the
# most followed accounts post often and the workers are slow. From how many followers on should an author not be
# *pushed* to the followers' timelines, but *pulled* by readers?
#
# Both runs see the same requests, and each random number is keyed by what it is for, so the difference is the
# policy's.

# %%
from model import compare

storm = Scenario.load("celebrity-storm")
pushed = simulate(storm.with_(policies__celebrity_threshold_followers=1_000))
pulled = simulate(storm.with_(policies__celebrity_threshold_followers=150))
comparison = compare(pushed, pulled)
comparison.notes

# %%
from rich.console import Console

from model.report.tables import render

Console(width=110).print(render(comparison))

# %%
from model.report.plots import plot_gauge, plot_lag, plot_latency

figure, axes = plt.subplots(1, 3, figsize=(14, 3.8), layout="constrained")
plot_latency(axes[0], comparison, "home_timeline")
plot_lag(axes[1], comparison, "delivery")
plot_gauge(axes[2], comparison, "fanout_queue_length")
plt.show()

# %% [markdown]
# Run `a` pushes to almost everybody: posts pile up in front of the workers, and followers see them late. Run `b`
# delivers at once, and pays with a dearer home timeline. `feedtwin sweep` draws the whole trade-off. (At a threshold of
# 5 000 the only worker never catches up: that run has no steady state, says so, and is not compared.)
#
# ## A process of your own
#
# Whatever happens to the platform while it runs is a SimPy process: a function of the environment and the platform
# that yields events. It may read anything, and change things. Here one Redis shard becomes five times slower for a
# while.


# %%
def process(env, platform):
    yield env.timeout(20)
    platform.redis[1].slow_down(5)
    yield env.timeout(15)
    platform.redis[1].slow_down(1)


slowed = simulate(scenario, processes=(process,))

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for name, each in {"as it was": run, "one shard slow": slowed}.items():
    over_time = each.latency_over_time("home_timeline", 0.95)
    axes[0].plot(over_time["time_s"], over_time["quantile_s"] * 1e3, label=name)
    each.plot_gauge(axes[1], "utilisation", "redis")
axes[0].set(xlabel="time (s)", ylabel="ms", title="home timeline, p95 of every second")
axes[0].legend()
axes[1].set(title="Redis, share of the core")
plt.show()

# %% [markdown]
# A process may also wait for the platform. `env.queue_above` fires as soon as more messages than that stand in a
# queue, at that very instant, not at the next sample.

# %%
seen = []


def watch(env, platform):
    yield env.queue_above("fanout", 20)
    seen.append((env.now, platform.queue_length("fanout"), platform.in_flight))


simulate(storm.with_(policies__celebrity_threshold_followers=5_000), processes=(watch,))
seen
