"""Dashboards and alerts ask for what an endpoint really tells; Prometheus's own program takes the rules."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families

from handbook.parsing import check_command
from serve.config import ServeConfig
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import (
    Caller,
    Explored,
    Feedback,
    Figures,
    Heartbeat,
    Reservation,
    Settlement,
    TrafficRecord,
    Verdict,
)
from serve.ledger.overview import budget_gauges
from serve.ledger.traffic.drift_figures import KNOWN
from serve.request.overview.expert_gauges import render_gauges
from serve.tracing.deployment import Traces
from warehouse import LedgerAwayError
from warehouse.traffic.kept_report import write_report

INFRA = Path(__file__).parents[2] / "infra"
DASHBOARDS = sorted((INFRA / "grafana").glob("*.json"))
RULES, RULES_TEST = (INFRA / "prometheus" / name for name in ("leeroo.rules.yml", "leeroo.rules.test.yml"))
PROMTOOL = shutil.which("promtool")
GIVEN_BY_PROMETHEUS = {"up", "job", "instance", "le"}
#: Labels of Ray's metrics that the dashboards use.
RAYS_LABELS = {"State", "Name", "Location", "dataset", "operator", "instance"}


def panels():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield pytest.param(path.stem, target["expr"], id=f"{path.stem}: {panel['title']}")


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def names_in(query):
    return set(re.findall(r"\b((?:leeroo|ray)_\w+|up)\b", re.sub(r'"[^"]*"', '""', query)))


def labels_in(query):
    grouped = re.findall(r"(?:by|without|on) \(([^)]*)\)", query)
    matched = re.findall(r"\{([^}]*)\}", query)
    return {word.strip() for words in grouped for word in words.split(",")} | {
        word for words in matched for word in re.findall(r"(\w+)\s*(?:=|!)", words)
    }


def labels_told(annotation):
    return set(re.findall(r"\$labels\.(\w+)", annotation))


@pytest.fixture(scope="module")
def bookkeeper(tmp_path_factory):
    """A bookkeeper that has seen everything that can be counted, in a home with a report on its traffic."""
    home = tmp_path_factory.mktemp("home")
    figures = [[name, dict.fromkeys(labels, "a"), 0.5] for name, (_, labels) in KNOWN.items()]
    write_report(home, {"made_at": datetime.now(UTC).isoformat(), "complaints": [], "figures": figures})
    ledger = Ledger(home / LEDGER_FILE)
    key_id, _ = ledger.create_key("ann's own", budget_usd=1.0, alert_at=(20,))
    ledger.create_key("without a budget")
    ledger.close()
    keeper, caller = Bookkeeper(ServeConfig(home=home, access="keys", explore_usd_per_day=1)), Caller(key_id)

    async def see_everything():
        await keeper.write([Reservation("r1", caller, (0.25,), owner="o", explores=True)])
        settled = Settlement(
            "r1",
            caller,
            0.5,
            disputed_usd=0.1,
            answer=Figures("a", {"prompt_tokens": 3, "completion_tokens": 4}, 0.2),
            failures=(("b", 502),),
            verdicts=(Verdict("b", "choice", "empty"),),
            records=(TrafficRecord("r1", b'{"round": "x"}', b"\0"),),
            explored=Explored("a", 0.01, 0.02),
        )
        await keeper.write([settled])
        await keeper.write([Reservation("r2", caller, (0.5,), owner="o")])

    asyncio.run(see_everything())
    keeper._metrics.count_feedback(Feedback("r1", "f1", score=1.0))
    return keeper


@pytest.fixture(scope="module")
def told(bookkeeper, tmp_path_factory):
    """Names of the samples, and of the labels of each, that an endpoint tells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serve.tracing.deployment.os.nice", lambda _: 0)
        patch.setattr("serve.tracing.deployment.keep_port_on_this_machine", lambda: None)
        patch.setattr("serve.tracing.deployment.trace_destinations", lambda _: ())
        traces = Traces(ServeConfig(home=tmp_path_factory.mktemp("traced"), access="open"))

    async def ask():
        return await bookkeeper.figures() + await traces.figures()

    text = (asyncio.run(ask()) + render_gauges({"a": "ok"}, {"a": 0.0})).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("dashboard", "query"), panels())
def test_a_panel_asks_for_what_is_told(dashboard, query, told):
    names = names_in(query)
    assert names
    if dashboard == "rounds" and all(name.startswith("ray_") for name in names):
        shipped = "".join(path.read_text() for path in RAYS_PANELS)
        # Ray's panels name metrics, with a prefix or without one.
        assert {
            n for n in names if not re.search(rf"\b(?:ray_)?{n.removeprefix('ray_')}\b", shipped)
        } == set()
        assert labels_in(query) <= RAYS_LABELS
        return
    assert names <= told.keys()
    known = set().union(*(told[name] for name in names)) | GIVEN_BY_PROMETHEUS
    assert labels_in(query) <= known


RAYS_PANELS = sorted((Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards").glob("*panels.py"))


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_what_is_told_and_says_what_to_do(alert, told):
    names = names_in(alert["expr"])
    assert names <= told.keys() | GIVEN_BY_PROMETHEUS
    known = set().union(*(told.get(name, set()) for name in names)) | GIVEN_BY_PROMETHEUS
    assert labels_in(alert["expr"]) <= known
    for words in alert["annotations"].values():
        assert labels_told(words) <= known
    for command in re.findall(r"`(leeroo [^`{]+)`", alert["annotations"]["fix"]):
        if command != "leeroo experts check":  # takes a name
            check_command(command)


def test_a_query_for_what_nobody_tells_is_found(told):
    assert not names_in("rate(leeroo_answer_total[5m])") <= told.keys()
    assert labels_in('sum by (exprt) (a{expert="b"})') == {"exprt", "expert"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_loaded(path):
    board = json.loads(path.read_text())
    assert board["uid"].startswith("leeroo-")
    assert "id" not in board  # Grafana gives one
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all"} <= variables
    places = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "panels lie upon each other"
    assert max(x for x, _ in places) < 24


def test_every_alert_has_a_test_in_which_it_comes():
    tests = yaml.safe_load(RULES_TEST.read_text())["tests"]
    come = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert {alert["alert"] for alert in alerts()} == come


@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed here (Debian: apt-get install prometheus)"
)
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "leeroo.rules.yml"),
        ("test", "rules", "leeroo.rules.test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes(words):
    done = subprocess.run([PROMTOOL, *words], cwd=RULES.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# The gauges of the ledger.


def samples(keeper):
    text = asyncio.run(keeper.figures()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_budgets_are_told_by_the_ids_of_their_keys_alone(bookkeeper, monkeypatch):
    monkeypatch.setattr(budget_gauges, "LOOK_EVERY_S", 0.0)
    asyncio.run(bookkeeper.write([Heartbeat("o", in_flight=7)]))
    found = samples(bookkeeper)
    (key,) = [key for key in bookkeeper._ledger.list_keys() if key.budget_usd]
    used = (key.spent_usd + key.reserved_usd) / key.budget_usd
    assert used == 0.75
    assert found["leeroo_key_budget_used_ratio", key.key_id, "month"] == used
    assert len([name for name, *_ in found if name == "leeroo_key_budget_used_ratio"]) == 1
    assert found["leeroo_ledger_up",] == 1
    assert found["leeroo_requests_under_way",] == 7
    assert "ann" not in asyncio.run(bookkeeper.figures()).decode()


def test_a_ledger_that_is_away_is_told_and_asked_now_and_then(bookkeeper, monkeypatch):
    asked = []

    def away(most):
        asked.append(time.monotonic())
        raise LedgerAwayError("it cannot be reached", where="ledger x", fix="start it")

    monkeypatch.setattr(bookkeeper._ledger, "fullest_keys", away)
    monkeypatch.setattr(budget_gauges, "LOOK_EVERY_S", 0.0)
    found = samples(bookkeeper)
    assert found["leeroo_ledger_up",] == 0
    assert not [name for name, *_ in found if name == "leeroo_key_budget_used_ratio"]
    assert found["leeroo_answers_total", "a"] == 1
    monkeypatch.setattr(budget_gauges, "LOOK_EVERY_S", 60.0)
    before = len(asked)
    for _ in range(5):
        samples(bookkeeper)
    assert len(asked) == before
