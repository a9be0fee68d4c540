"""The report and the terminal tables: complete, self-contained, deterministic, and honest about what is not known."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from model.analysis.compare import compare
from model.report import render_system_table, render_table, write_report
from model.report.html import render_report
from model.report.tables import render
from model.report.words import duration, headline, signed, significant, targets_line
from model.runs import RunBuilder, provenance
from model.spec import ENDPOINTS, InputError, MachineError
from tests.synthetic import make_run, scenario

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects text, images and whatever would be loaded from elsewhere."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.external: list[str] = []
        self.feed(document)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        for name, value in attrs:
            if name in ("src", "href", "action", "data") and value and not value.startswith(("data:", "#")):
                self.external.append(value)
        if tag in ("script", "link", "iframe"):
            self.external.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())  # split() also takes the spaces that do not break


@pytest.fixture(scope="module")
def document() -> str:
    real = make_run("real", failed=7, provenance=provenance(rig={"quiet": "on"}), question="Is it <b>close</b>?")
    model = make_run("model", latency_factor=1.1, provenance={"calibration_digest": "c0ffee"})
    return render_report(compare(real, model))


def test_the_page_needs_nothing_from_elsewhere(document: str) -> None:
    page = Page(document)
    assert page.external == []
    assert "@import" not in document
    assert "url(" not in document


def test_the_page_says_what_was_found(document: str) -> None:
    text = Page(document).text
    assert "VALID" in text
    assert re.search(r"latencies are off by \d+\.\d % in the median", text)
    assert "16 of 16 scored figures are within their target" in text
    for endpoint in ENDPOINTS:
        assert endpoint.value in text
    for heading in ("What each number means", "How to reproduce", "Provenance", "Failures"):
        assert heading in text
    assert "home_timeline: timeout 2 0" in text
    assert "rig · quiet on" in text
    assert "c0ffee" in text
    assert "feedtwin load scenario.yaml -o real" in text
    assert "too few" in text


def test_text_from_the_scenario_is_escaped(document: str) -> None:
    assert "Is it <b>close</b>?" in Page(document).text
    assert "<b>close" not in document


def test_every_picture_is_an_svg_that_parses_and_is_described(document: str) -> None:
    page = Page(document)
    described = [image["alt"] for image in page.images]
    assert len(set(described)) == len(described) == 14
    for image in page.images:
        head, _, payload = (image["src"] or "").partition(",")
        assert head == "data:image/svg+xml;base64"
        assert ET.fromstring(base64.b64decode(payload)).tag.endswith("svg")


def test_the_same_comparison_gives_the_same_page(document: str) -> None:
    def again() -> str:
        return render_report(compare(make_run("real"), make_run("model", latency_factor=1.1)))

    assert again() == again()


def test_an_invalid_run_gets_no_verdict() -> None:
    comparison = compare(make_run("real", valid=False), make_run("model"), allow_invalid=True)
    assert headline(comparison) == "No verdict: a run is invalid (generator slip p99 is 30 ms)."
    assert targets_line(comparison) == ""
    text = Page(render_report(comparison)).text
    assert "INVALID" in text
    assert "off by" not in text


def test_two_runs_of_a_kind_are_called_a_and_b() -> None:
    comparison = compare(make_run("model"), make_run("model", latency_factor=1.5, workload__rate_per_s=200.0))
    assert headline(comparison).startswith("The latencies of b differ from those of a by")
    document = render_report(comparison)
    text = Page(document).text
    assert "within their target" not in text
    assert "✗" not in document  # no target applies, so none is missed
    assert "feedtwin simulate b.yaml -o b" in text
    assert "a.yaml: every field" in text


def test_an_empty_run_makes_a_page_too() -> None:
    empty = RunBuilder(scenario(), "real").build({})
    comparison = compare(empty, make_run("model"))
    assert headline(comparison) == "No verdict: too few requests to score a single figure."
    Page(render_report(comparison))
    nothing = compare(empty, empty)
    Page(render_report(nothing))
    _printed(render(nothing))


def test_figures_beyond_their_target_are_named() -> None:
    comparison = compare(make_run("real"), make_run("model", latency_factor=1.3))
    assert "beyond it: " in targets_line(comparison)
    assert "✗" in render_report(comparison)


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare(make_run("real"), make_run("model"))
    path = write_report(comparison, tmp_path / "new" / "report.html")
    first = path.read_text()
    with pytest.raises(InputError, match="exists already"):
        write_report(comparison, path)
    write_report(comparison, path, force=True)
    assert path.read_text() == first

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_report(comparison, path, force=True)
    monkeypatch.undo()
    assert path.read_text() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_missing_extra_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: str, purpose: str) -> None:
        raise MachineError(f"{purpose} needs jinja2")

    monkeypatch.setattr("model.report.html.require", missing)
    with pytest.raises(MachineError, match="the HTML report needs jinja2"):
        render_report(compare(make_run("real"), make_run("model")))


def test_the_tables_show_both_runs_and_the_error() -> None:
    comparison = compare(make_run("real", failed=5), make_run("model", latency_factor=1.1))
    latency = _printed(render_table(comparison))
    assert latency.count("too few") == len(ENDPOINTS)
    assert re.search(r"home_timeline +real +2,999 +200", latency)
    assert re.search(r"error +\+0.0 % +\+1\d\.\d %", latency)
    system = _printed(render_system_table(comparison))
    assert re.search(r"timeline hit ratio +90.0 % +90.0 % +\+0.0 %", system)
    assert re.search(r"delivery lag, p99 .* too few", system)
    assert "posts lost" in system
    everything = _printed(render(comparison))
    assert "home_timeline: timeout" in everything
    assert "in the median" in everything


def test_notes_come_first() -> None:
    comparison = compare(make_run("model"), make_run("model", workload__rate_per_s=200.0))
    assert _printed(render(comparison)).startswith("note: scenario.workload.rate_per_s: 300.0 against 200.0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0123456, "0.0123"),
        (4.3, "4.30"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-2.0, "-2.00"),
    ],
)
def test_significant_digits(value: float | None, text: str) -> None:
    assert significant(value) == text


def test_units_and_signs() -> None:
    assert [duration(value) for value in (None, 0.0004, 0.25, 2.5)] == ["-", "0.400 ms", "250 ms", "2.50 s"]
    assert [signed(error) for error in (None, 0.071, -0.2, 30.0)] == ["-", "+7.1 %", "-20.0 %", "31 x"]


def _printed(renderable: RenderableType) -> str:
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()
