"""`leeroo report`: the page says what `evaluation.json` says, and asks the network for nothing."""

import html
import json
import re
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.traffic.drift import Difference, Ratio
from orchestrator.versions.evaluation_file import read_evaluation
from pipelines.cli import app
from pipelines.report.calibration import tell_calibration
from pipelines.report.cost_accuracy import tell_cost_accuracy
from pipelines.report.domains import tell_domains
from pipelines.report.kept import Choice, tell_universe
from pipelines.report.method import tell_method
from pipelines.report.parts import Chart, Examples, Paragraph, Section, Table, money, table_of
from pipelines.report.savings import tell_savings
from pipelines.report.sources import find_sources
from pipelines.report.traffic import Said, read_kept, read_said, tell_traffic
from pipelines.report.write import render_page
from pipelines.traffic.kept_report import plain
from pipelines.traffic.watch import Complaint, Group, TrafficReport
from tests.pipelines.recorded_home import import_recorded, train
from universe.pool_file import POOL_NAME, read_frontier, read_pool_file
from warehouse import InputError
from warehouse.home import Home
from warehouse.traffic.kept_report import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))
from browser import BROWSER, Page

MOST_BYTES = 3_000_000


class Asked:
    """Questions as the section on domains reads them."""

    def __init__(self, texts, domains):
        self.texts, self.domains = texts, domains

    def __len__(self):
        return len(self.texts)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    import_recorded(tmp_path_factory.mktemp("recorded"), home)
    train(home)
    return home


@pytest.fixture(scope="module")
def page(home, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    options = ["--home", str(home), "--out", str(out), "--figures", str(out.parent / "figures")]
    run = CliRunner().invoke(app, ["report", "--queries-per-month", "250000", *options])
    assert run.exit_code == 0, run.output
    return out


def cells(page, caption):
    """The rows of a table as texts."""
    text = page.read_text()
    (table,) = re.findall(rf'<caption class="hidden">{re.escape(caption)}</caption>(.*?)</table>', text, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [[html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)] for row in rows][1:]


def test_the_numbers_are_those_of_the_evaluation(home, page):
    check_numbers(home, page)


def check_numbers(home, page):
    """See that a page shows the numbers of the evaluation of a home's first version, all of them."""
    found = read_evaluation(Home.open(home).mlflow_uri, "1")
    shown = cells(page, "What a query costs, and how often the answer is right")
    assert len(shown) == len(found["rows"])
    for row, (_, accuracy, cost, headroom) in zip(found["rows"], shown, strict=True):
        m = row["measures"]
        a = m["accuracy"]
        assert accuracy == f"{100 * a['value']:.1f}% [{100 * a['low']:.1f}, {100 * a['high']:.1f}]"
        assert float(cost.removeprefix("$").replace(",", "")) == pytest.approx(
            1000 * m["cost_usd"]["value"], rel=0.006
        )
        value = m.get("headroom_log", {}).get("value")
        assert headroom == ("-" if value is None else f"{100 * value:.1f}%")
    ours, single = (next(r for r in found["rows"] if r["name"] == n) for n in ("knn", "best single"))
    for domain, *shares in cells(page, "Accuracy by domain"):
        expected = [ours["accuracy_by_domain"][domain], single["accuracy_by_domain"][domain]]
        assert shares[:2] == [f"{100 * share:.1f}%" for share in expected]
    calibration = cells(page, "Forecast success, and what came")
    assert [row[1] for row in calibration] == [
        f"{100 * b[1]:.1f}%" for b in found["calibration"]["knn"]["bins"]
    ]


def test_savings_are_the_difference_at_the_volume_given(home, page):
    found = read_evaluation(Home.open(home).mlflow_uri, "1")
    rows = {row["name"]: row["measures"]["cost_usd"]["value"] for row in found["rows"]}
    shown = {row[0]: row for row in cells(page, "What it saves: savings")}
    spent, saved = shown["no budget pressure"][3:]
    assert spent == money(250_000 * rows["knn"])
    assert saved == money(250_000 * (rows["best single"] - rows["knn"]))


def test_the_page_is_whole_and_small_and_its_figures_are_files(page):
    text = page.read_text()
    assert len(text.encode()) < MOST_BYTES
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)', markup)
    drawn = {file.name for file in (page.parent / "figures").iterdir()}
    for name in re.findall(r'data-chart="(\w+)"', text):
        assert {f"{name}.png", f"{name}.svg"} <= drawn
    assert {"cost_accuracy.png", "accuracy_by_domain.svg", "calibration.svg", "frontier.png"} <= drawn
    assert all(file.stat().st_size > 2_000 for file in (page.parent / "figures").iterdir())
    assert "var(" not in (page.parent / "figures" / "cost_accuracy.svg").read_text()


def test_a_versions_own_page_has_its_mix_dealt_to_other_queries(home, page):
    """Matched random: the same experts as often, whatever is asked; it costs the same."""
    rows = {row["name"]: row["measures"] for row in read_evaluation(Home.open(home).mlflow_uri, "1")["rows"]}
    ours, dealt = rows["knn"], rows["matched random"]
    assert dealt["cost_usd"]["value"] == pytest.approx(ours["cost_usd"]["value"], rel=0.05)
    shown = [row[0] for row in cells(page, "What a query costs, and how often the answer is right")]
    assert "matched random: our spending, any query" in shown


def test_the_frontier_that_was_kept_is_drawn_with_the_chosen_point(home, tmp_path):
    options = ["--no-judge", "--no-explain", "--no-track", "--home", str(home)]
    chosen = CliRunner().invoke(app, ["universe", "--frontier", "cost", "--points", "3", *options])
    assert chosen.exit_code == 0, chosen.output
    applied = CliRunner().invoke(app, ["universe", "apply", "--home", str(home)])
    assert applied.exit_code == 0, applied.output
    pool = read_pool_file(home / POOL_NAME)
    kept = read_frontier(pool.document)
    assert len(kept) == 3
    assert read_frontier({"frontier": [{"budget_usd": "many"}]}) == ()

    sources = find_sources(Home.open(home))
    sources = replace(sources, version=replace(sources.version, pool=pool.experts))
    learned = sources.evidence.to_learn()
    choice = Choice(pool.experts, pool.document["expected_score"], pool.document["expected_cost_usd"], kept)
    (chart, *_) = tell_universe(learned, choice, "wordllama", tmp_path).parts
    drawn, *_, ring, _ = (layer["data"]["values"] for layer in chart.spec["layer"])
    assert [1000 * point.expected_cost_usd for point in kept] == [value["cost"] for value in drawn]
    assert ring[0]["cost"] == 1000 * pool.document["expected_cost_usd"]
    assert sources.plan.experts == pool.experts


def test_experts_beyond_the_colours_have_numbers():
    """Thirty experts: each bar says whose it is, by a number that the legend has."""
    names = tuple(f"expert-{i}" for i in range(30))
    router = SimpleNamespace(
        experts=names,
        decide=lambda texts: [SimpleNamespace(expert=names[i % 30]) for i in range(len(texts))],
    )
    section = tell_domains(None, "knn", router, Asked(["x"] * 300, np.array(["law"] * 300)))
    spec = section.parts[0].spec
    legend = spec["layer"][0]["encoding"]["color"]["scale"]
    assert len(set(legend["domain"])) == 30
    assert len(set(legend["range"])) >= 12
    numbers = {value["expert"].split()[0] for value in spec["data"]["values"]}
    assert numbers == {value["number"] for value in spec["data"]["values"]} == {str(i) for i in range(1, 31)}


def test_what_people_and_graders_said_is_told(tmp_path):
    said = (Said("ann", "feedback", 12, 0.75, 0.5, 1.0), Said("bob", "grader", 1, 0.2, 0.0, 1.0))
    (paragraph, table) = tell_traffic(None, said).parts
    assert "chooses to" in paragraph.text
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows == [
        ["ann", "people", "12", "0.75 [0.50, 1.00]"],
        ["bob", "graders", "1", "0.20 [0.00, 1.00]"],
    ]
    assert read_said(Home.open(tmp_path).warehouse()) == ()


def test_what_is_not_there_is_told(home, tmp_path):
    report = lambda *more: CliRunner().invoke(app, ["report", "--home", str(home), *more])  # noqa: E731
    assert "no round 'r7'" in str(report("--round", "r7").exception)
    assert "no router version '9'" in str(report("--version", "9").exception)
    (tmp_path / "other.json").write_text('{"rows": [{"name": "oracle"}]}')
    refused = report("--evaluation", str(tmp_path / "other.json"), "--out", str(tmp_path / "page.html"))
    assert isinstance(refused.exception, InputError)
    assert not (tmp_path / "page.html").exists()


def test_the_traffic_is_told_where_there_is_a_report_on_it(tmp_path):
    assert tell_traffic(read_kept(tmp_path)) is None
    found = Difference(forecast=0.7, found=0.6, difference=-0.1, low=-0.15, high=-0.05, n=90)
    groups = (Group("ann", 120, found, Ratio(1.2, 1.1, float("nan"), 120)), Group("bob", 3, None, None))
    now = datetime(2026, 1, 2, tzinfo=UTC)
    off = Complaint("ann", "is off", "train anew")
    report = TrafficReport(now, now, 123, 90, None, groups, (), (), (), None, (off,))
    content = plain(asdict(report)) | {"made_at": now.isoformat(), "figures": []}
    write_report(tmp_path, content)
    section = tell_traffic(read_kept(tmp_path))
    (table,) = [part for part in section.parts if isinstance(part, Table)]
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows[0] == ["ann", "120", "70.0%", "60.0% of 90", "-10.0 [-15.0, -5.0]", "-"]
    assert rows[1] == ["bob", "3", "-", "-", "-", "-"]
    assert any(isinstance(part, Paragraph) and "is off" in part.text for part in section.parts)


def test_a_version_without_an_evaluation_says_why():
    assert tell_cost_accuracy(None, "knn") is None
    assert tell_savings(None, "knn", 1.0) is None
    assert tell_calibration(None, "knn") is None
    (why,) = tell_method(None).parts
    assert "fewer than 50" in why.text


HOSTILE = "</script><script>alert(1)</script><!-- & \" ' \u2028 <img src=x onerror=alert(2)>"


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_texts_of_others_stay_texts(text):
    text = HOSTILE + text.replace("\x00", "").replace("\r", "")
    table = table_of("t", ("domain",), [(text,)], by_domain="domain")
    chart = Chart("c", text, {"data": {"values": [{"a": text}]}}, text, table)
    section = Section("s", text, (Paragraph(text), Examples(text, (text,)), table, chart))
    page = render_page((section,), title=text, queries_per_month=1)
    assert "<img src=x" not in page
    assert page.count("</script>") == 3
    assert page.count("<script>") == 2
    (specs,) = re.findall(r'<script id="specs" type="application/json">(.*?)</script>', page, re.S)
    assert json.loads(specs)["c"]["data"]["values"][0]["a"] == text


@given(st.floats(1e-9, 1e9))
def test_money_keeps_three_digits(amount):
    said = float(money(amount).removeprefix("$").replace(",", ""))
    assert said == pytest.approx(amount, rel=0.0051)
    assert "e" not in money(amount)


VOLUME = "document.getElementById('queries')"
CHOICE = "document.getElementById('domain')"
MONTH = "document.querySelector('#savings tbody tr td[data-per-query-usd]')"
SEEN = """[...document.querySelectorAll('[data-domain-column] tbody tr')]
    .filter(row => !row.hidden).map(row => row.cells[0].textContent)"""
AXE = "axe.run().then(r => { window.found = r.violations.map(v => [v.id, v.impact, v.nodes[0].html]); })"
TROUBLE = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


@pytest.mark.e2e
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize(("name", "width", "scheme"), [("light", 1200, "light"), ("phone", 390, "dark")])
def test_the_page_in_a_browser(page, tmp_path, name, width, scheme):
    """No error, no request, no barrier; the volume, the order and the domain do what they say."""
    check_in_browser(page, tmp_path, f"report-{name}", width, scheme, domain="history")


def use_colours(browser, scheme):
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=media)


def check_in_browser(page, tmp_path, name, width, scheme, *, domain):
    """Open a page, use it, and keep how it looks; where it is light, in dark colours too."""
    rules = Path(find_spec("axe_playwright_python").origin).parent / "axe.min.js"
    browser = Page("about:blank", tmp_path / "profile")
    try:
        for part in ("Runtime", "Log", "Network", "Page"):
            browser.call(f"{part}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        use_colours(browser, scheme)
        browser.call("Page.navigate", url=page.as_uri())
        browser.wait(lambda: browser.read("document.body?.dataset.drawn") == "yes")
        assert browser.read("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.read("[...document.querySelectorAll('.chart')].every(c => c.querySelector('svg'))")
        browser.photograph(f"{name}.png", whole=True)
        if scheme == "light":
            use_colours(browser, "dark")
            browser.photograph(f"{name.removesuffix('-light')}-dark.png", whole=True)
            use_colours(browser, "light")

        browser.read(f"{VOLUME}.value = '1000'; {VOLUME}.dispatchEvent(new Event('input'))")
        per_query_usd = float(browser.read(f"{MONTH}.dataset.perQueryUsd"))
        assert browser.read(f"{MONTH}.textContent") == money(1000 * per_query_usd)
        browser.read("document.querySelector('#savings th button').focus(); document.activeElement.click()")
        order = "document.querySelector('#savings th').getAttribute('aria-sort')"
        assert browser.read(order) == "ascending"
        browser.read(f"{CHOICE}.value = '{domain}'; {CHOICE}.dispatchEvent(new Event('change'))")
        assert set(browser.read(SEEN)) == {domain}

        browser.read("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        browser.read(rules.read_text())
        browser.read(AXE)
        browser.wait(lambda: browser.read("window.found !== undefined"))
        assert browser.read("window.found") == []
        told = [event for event in browser.events if event.get("method") in TROUBLE]
        assert told == []
        sent = [e for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
        asked = [event["params"]["request"]["url"] for event in sent]
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
