"""The Run: scoring, rates, digest and storage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.runs import Run, RunBuilder, Validity, provenance
from model.spec import InputError
from tests.synthetic import latencies_ns, make_run, scenario


def test_only_windows_after_the_warm_up_are_scored() -> None:
    run = make_run()
    values = latencies_ns(20_000)
    assert run.latency().n == 15_000
    assert run.latency(scored=False).n == 20_000
    assert run.latency().mean_s == pytest.approx(values[5_000:].mean() / 1e9)
    assert run.latency("home_timeline").mean_s == pytest.approx(values[5_000::5].mean() / 1e9)


def test_a_warm_up_inside_a_window_drops_that_window() -> None:
    run = make_run(warmup_s=4.5)
    assert run.first_scored_window == 5
    assert run.scored_s == pytest.approx(15)


def test_scheduled_latency_contains_the_slip() -> None:
    run = make_run(slip_ns=3_000_000)
    assert run.latency(basis="scheduled").mean_s - run.latency(basis="sent").mean_s == pytest.approx(0.003)


def test_rates_and_failures() -> None:
    run = make_run(failed=150)
    assert run.n_requests == 20_000
    assert run.n_failed == 150
    assert run.offered_per_s == pytest.approx(1_000)
    # The last answers arrive after the end, and do not count as achieved.
    assert 985 < run.achieved_per_s < 990.1
    assert run.failures["react"] == {"timeout": 30}
    assert run.latency().n == 15_000 - 150


def test_an_overloaded_server_achieves_less_than_is_offered() -> None:
    builder = RunBuilder(scenario(warmup_s=0.0), "real")
    sent = np.arange(20_000) * 1_000_000
    finished = np.arange(20_000) * 2_000_000 + 1_000_000  # serves 500/s
    builder.add_requests(np.zeros(20_000), sent, sent, finished - sent, np.zeros(20_000))
    run = builder.build({})
    assert run.offered_per_s == pytest.approx(1_000)
    assert run.achieved_per_s == pytest.approx(500)


def test_lags_are_weighted_and_chosen_by_label() -> None:
    run = make_run()
    assert run.lag("delivery").n == 1_500 * 5
    assert run.lag_labels("replica") == ["standby0", "standby1"]
    assert run.lag("replica").n == run.lag("replica", "standby0").n + run.lag("replica", "standby1").n


def test_latency_over_time_has_a_row_per_window() -> None:
    table = make_run().latency_over_time("home_timeline", q=0.5)
    assert table["time_s"].to_list() == [float(t) for t in range(20)]
    assert set(table["n"].to_list()) == {200}
    assert table["quantile_s"].mean() == pytest.approx(0.004, rel=0.05)


def test_utilisation_and_gauges() -> None:
    run = make_run()
    assert run.utilisation == pytest.approx({"api": 0.4, "backend": 0.6, "primary": 0.08, "redis": 0.1})
    assert run.gauge("fanout_queue_length", scored=True)["time_s"].min() == 5.0
    assert run.hit_ratio == pytest.approx(0.9)


def test_unknown_names_are_refused() -> None:
    run = make_run()
    with pytest.raises(InputError, match="endpoint is 'home'; allowed: home_timeline, profile"):
        run.latency("home")
    with pytest.raises(InputError, match="basis is 'arrival'; allowed: sent, scheduled"):
        run.latency(basis="arrival")  # type: ignore[arg-type]


def test_the_digest_is_of_the_content() -> None:
    assert make_run().digest == make_run().digest
    assert make_run(provenance=provenance(note="later")).digest == make_run().digest
    different = [
        make_run(latency_factor=1.001),
        make_run("model"),
        make_run(hits=901),
        make_run(valid=False),
        make_run(seed=8),
        make_run(workload__rate_per_s=200.0),
        make_run(provenance={"calibration_digest": "c0ffee"}),
        make_run(failed=1),
    ]
    assert len({run.digest for run in [make_run(), *different]}) == len(different) + 1


def test_a_sampler_changes_the_content_but_not_the_digest() -> None:
    plain, sampled = RunBuilder(scenario(), "model"), RunBuilder(scenario(), "model")
    sampled.add_gauge(1.0, "my_gauge", "", 5.0)
    assert plain.build({}).digest == sampled.build({}).digest
    assert plain.build({}).content_digest != sampled.build({}).content_digest


def test_the_order_and_size_of_calls_do_not_matter() -> None:
    sent = np.arange(1_000, dtype=np.int64) * 10_000_000
    latency = latencies_ns(1_000)
    ordinal = np.arange(1_000)
    runs = []
    for parts in ([ordinal], np.array_split(ordinal, 7), np.array_split(ordinal, 7)[::-1]):
        builder = RunBuilder(scenario(), "real", sample_limit=300)
        for part in parts:
            builder.add_requests(part % 5, sent[part], sent[part], latency[part], np.zeros(len(part)), ordinal=part)
        runs.append(builder.build({}))
    assert len({run.digest for run in runs}) == 1
    assert runs[0].requests["ordinal"].to_list() == list(range(0, 1_000, 4))


def test_counted_and_single_requests_give_the_same_latencies() -> None:
    single = make_run("model")
    counted = RunBuilder(single.scenario, "model")
    rows = single.latency_table.filter(pl.col("basis") == "sent")
    codes = {endpoint.value: endpoint.code for endpoint in single.endpoints}
    endpoints = [codes[name] for name in rows["endpoint"]]
    counted.add_latency_counts(endpoints, rows["window"], rows["bucket"], rows["count"])
    totals = single.totals
    counted.add_totals(
        [codes[name] for name in totals["endpoint"]],
        totals["window"],
        totals["offered"],
        totals["completed"],
        totals["failed"],
        totals["sum_sent_ns"],
        finished=totals["finished"],
    )
    run = counted.build({})
    assert run.latency_table.equals(single.latency_table)
    assert run.totals.equals(single.totals)


def test_a_run_survives_the_round_trip(tmp_path: Path) -> None:
    run = make_run(failed=3, valid=False, provenance=provenance(rig={"quiet": "on"}))
    run.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert loaded.content_digest == run.content_digest
    assert loaded.validity == Validity(False, ("generator slip p99 is 30 ms",))
    assert loaded.scenario == run.scenario
    assert loaded.provenance == run.provenance
    for name, frame in run.tables().items():
        assert loaded.tables()[name].equals(frame), name
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_saving_over_something_needs_force_and_spares_strangers(tmp_path: Path) -> None:
    make_run().save(tmp_path / "run")
    with pytest.raises(InputError, match="exists already"):
        make_run(failed=1).save(tmp_path / "run")
    assert Run.load(tmp_path / "run").n_failed == 0
    make_run(failed=1).save(tmp_path / "run", force=True)
    assert Run.load(tmp_path / "run").n_failed == 1

    stranger = tmp_path / "photos"
    stranger.mkdir()
    (stranger / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="is not a run"):
        make_run().save(stranger, force=True)
    assert (stranger / "cat.jpg").exists()


def test_a_save_that_fails_leaves_the_old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run().save(tmp_path / "run")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full_disk)
    with pytest.raises(InputError, match="No space left"):
        make_run(failed=1).save(tmp_path / "run", force=True)
    monkeypatch.undo()
    assert Run.load(tmp_path / "run").n_failed == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_loading_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Run.load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"has no run.json"):
        Run.load(tmp_path)

    def broken(name: str) -> Path:
        return make_run().save(tmp_path / name)

    (broken("missing") / "lags.parquet").unlink()
    with pytest.raises(InputError, match=r"lags.parquet: the file is missing"):
        Run.load(tmp_path / "missing")

    table = broken("cut") / "latency.parquet"
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(InputError, match=r"latency.parquet: damaged"):
        Run.load(tmp_path / "cut")

    swapped = broken("swapped")
    pl.DataFrame({"a": [1]}).write_parquet(swapped / "totals.parquet")
    with pytest.raises(InputError, match=r"totals.parquet: its columns are a; expected endpoint, window"):
        Run.load(swapped)

    edited = broken("edited")
    totals = pl.read_parquet(edited / "totals.parquet")
    totals.with_columns(pl.col("failed") * 0, pl.col("offered") + 1).write_parquet(edited / "totals.parquet")
    with pytest.raises(InputError, match=r"damaged \(its content has digest"):
        Run.load(edited)

    header = broken("header") / "run.json"
    header.write_text(header.read_text()[:50])
    with pytest.raises(InputError, match=r"run.json: damaged"):
        Run.load(tmp_path / "header")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version is 99; this feedtwin reads version 2"),
        ({"scenario": {"name": "x", "duration_s": -1}}, r"scenario.duration_s cannot be read"),
        ({"counters": None, "duration_s": "long"}, "damaged"),
        ({"kind": "dream"}, "kind is 'dream'"),
    ],
)
def test_a_header_from_elsewhere_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    header = make_run().save(tmp_path / "run") / "run.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        Run.load(tmp_path / "run")


def test_provenance_says_where_it_was_made_and_not_how_it_was_called() -> None:
    record = provenance(seed=5)
    assert record["seed"] == 5
    assert record["machine"]["cores"] >= 1
    assert record["packages"]["numpy"] == np.__version__
    assert "argv" not in json.dumps(record)
