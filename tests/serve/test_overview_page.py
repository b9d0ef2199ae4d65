"""The overview in a headless browser: as it is, empty, and with hostile names and numbers."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import BROWSER, Page
from fake_experts import FixedRouter, LocalLedger, ScriptedExpert

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.overview.seen import (
    Forecast,
    KeyBudget,
    Latency,
    LedgerOverview,
    RecentRequest,
    Savings,
    Tally,
)
from serve.request.gateway import Gateway
from tests.web_server import serve_app

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

AXE = "axe.run().then(r => { window.found = r.violations.map(v => [v.id, v.impact, v.nodes[0].html]); })"
TROUBLE = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
HOSTILE = '<img src=x onerror="window.hit=1"></td><script>window.hit=1</script>&amp;\'\u202e' + "x" * 60
UPDATED = "document.getElementById('updated')?.textContent.startsWith('figures of')"
LOOKS = [("light", 1000, "light"), ("dark", 1000, "dark"), ("phone", 390, "light")]


def seen_of(names, count, usd):
    """What a ledger may show: experts, keys and decisions of these names, amounts of this size."""
    tally = Tally(count, count // 7, usd, count, 0.71 * count, 2 * usd, 0.69 * count, 1.1 * usd, usd)
    forecasts = tuple(Forecast(name, 0.9 - i / 50, usd / (i + 1)) for i, name in enumerate(names))
    recent = tuple(
        RecentRequest(
            f"chatcmpl-{i}",
            f"key-{i}",
            1.79e9 - 60 * i,
            name,
            usd / (i + 1),
            0.3 * (i + 1),
            recorded=i % 3 != 2,
            why="" if i % 3 == 2 else f"best expected success for its cost within ${usd:g}",
            role=("champion", "named", None)[i % 3],
            version="v1",
            explored=i == 4,
            form="number",
            chosen=names[0],
            tried=((names[0], "overloaded"),) if i == 1 else (),
            forecasts=forecasts,
        )
        for i, name in enumerate(names)
    )
    budgets = (None, 2 * usd, usd / 2, 0.0)
    return LedgerOverview(
        sees_all=True,
        counted_since=1.79e9,
        first_day="2026-11-23",
        everything=tally,
        experts=dict.fromkeys(names, tally),
        versions={"v1": tally, "v0": tally},
        shadows={"v2": tally},
        savings=Savings(names[0], count, 2 * usd, 0.71, usd, 1.1 * usd, 0.69),
        days=tuple((f"2026-11-{23 + i}", tally, tally) for i in range(7)),
        latency=Latency(2_000, 0.4, 3.1),
        latencies=dict.fromkeys(names, Latency(100, 0.4, 3.1)),
        recent=recent,
        keys=tuple(
            KeyBudget(f"key-{i}", name, budgets[i % 4], ("day", "month", "total")[i % 3], usd, usd / 9, count)
            for i, name in enumerate(names)
        ),
        more_keys=count,
        key_names={f"key-{i}": name for i, name in enumerate(names)},
    )


SEEN = {
    "usual": seen_of([f"helm/some_expert-{i}" for i in range(6)], 12_345, 17.4),
    "hostile": seen_of([f"{HOSTILE}{i}" for i in range(3)], 10**17, 9.9e14),
}


class ShownLedger(LocalLedger):
    """The real ledger, but for what it shows."""

    def __init__(self, config):
        super().__init__(config)
        self.shown = None
        self._real = self.overview
        self.overview = self._overview

    async def _overview(self, caller, days):
        return await self._real(caller, days) if self.shown is None else self.shown


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of an endpoint with scripted experts, and its ledger."""
    config = ServeConfig(home=tmp_path_factory.mktemp("home"), access="auto")
    names = "gemma-3-270m", "smollm2-135m"
    ledger = ShownLedger(config)
    gateway = Gateway(config, FixedRouter(*names), ledger, {name: ScriptedExpert(name) for name in names})
    with serve_app(create_api(gateway)) as url:
        yield url, ledger


@pytest.fixture(scope="module")
def browser(served, tmp_path_factory):
    page = Page("about:blank", tmp_path_factory.mktemp("profile"))
    for domain in ("Runtime", "Log", "Network", "Page"):
        page.call(f"{domain}.enable")
    yield page
    page.close()


def open_at(browser, url, width=1000, scheme="light"):
    browser.events.clear()
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=f"{url}/#overview")
    browser.wait(lambda: browser.read(UPDATED))


def check(browser, url):
    """No barrier, no error, nothing that ran or was asked for but the page's own."""
    rules = Path(find_spec("axe_playwright_python").origin).parent / "axe.min.js"
    browser.read("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.read(rules.read_text())
    browser.read(AXE)
    browser.wait(lambda: browser.read("window.found !== undefined"))
    assert browser.read("window.found") == []
    assert browser.read("window.hit") is None
    assert browser.read("document.querySelectorAll('main img, main script').length") == 0
    assert browser.read("document.documentElement.scrollWidth <= window.innerWidth")
    assert [event for event in browser.events if event.get("method") in TROUBLE] == []
    sent = [e for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    asked = [event["params"]["request"]["url"] for event in sent]
    assert [one for one in asked if not one.startswith((url, "data:", "about:"))] == []


@pytest.mark.parametrize(("name", "width", "scheme"), LOOKS)
@pytest.mark.parametrize("kind", SEEN)
def test_all_of_it_is_text_and_reachable(served, browser, kind, name, width, scheme):
    url, ledger = served
    ledger.shown = SEEN[kind]
    open_at(browser, url, width, scheme)
    shown = browser.read("document.getElementById('overview').innerText")
    for expert in ledger.shown.experts:
        assert expert in shown
    browser.photograph(f"overview-{kind}-{name}.png", whole=True)
    check(browser, url)


def test_it_follows_what_happens_and_keeps_what_is_open(served, browser):
    url, ledger = served
    ledger.shown = None
    open_at(browser, url)
    assert "nothing to compare yet" in browser.text("cards")
    assert "none yet" in browser.text("decisions")
    check(browser, url)

    rows = "document.getElementById('decisions').tBodies[0].rows"
    body = {"model": "leeroo", "messages": [{"role": "user", "content": "hello"}]}
    for asked in (1, 2):
        reply = httpx.post(f"{url}/v1/chat/completions", json=body).raise_for_status().json()
        last = json.dumps(reply["leeroo"]["request_id"])
        browser.wait(lambda: browser.read(f"{rows}[0].dataset.id == {last}"))  # noqa: B023
        if asked == 1:
            browser.read(f"{rows}[0].querySelector('summary').focus(); document.activeElement.click()")
    assert "told so" in browser.read(f"{rows}[1].querySelector('details[open]').innerText")
    assert browser.read(f"document.activeElement === {rows}[1].querySelector('summary')")

    ledger.shown = SEEN["usual"]  # a shorter span is asked for, and shown at once
    browser.read("document.getElementById('days').value = '1'; document.getElementById('days').onchange")
    browser.read("document.getElementById('days').dispatchEvent(new Event('change'))")
    browser.wait(lambda: "12,345" in browser.text("cards"))


def test_a_key_is_asked_for_where_one_is_needed(served, browser):
    url, ledger = served
    ledger.shown = None
    open_at(browser, url)
    create = ledger._bookkeeper._ledger.create_key
    _, secret = create("ann")
    field = "document.getElementById('keyForm').hidden"
    browser.wait(lambda: browser.read(field) is False)
    browser.wait(lambda: browser.text("overviewTrouble") != "")
    browser.type(secret)
    browser.read("document.getElementById('key').dispatchEvent(new Event('change'))")
    browser.wait(lambda: browser.text("scope") == "this key's requests")
    assert browser.read("document.getElementById('versionsPart').hidden") is True
    assert browser.text("overviewTrouble") == ""
