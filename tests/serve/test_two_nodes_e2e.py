"""An endpoint on two Ray nodes, its books on PostgreSQL: the bookkeeper's node is killed under load."""

import contextlib
import itertools
import json
import re
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest
from test_fronts_e2e import ApiOfOne
from test_stopping_e2e import API_KEY, wait_until

from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.ledger.audit import check_books
from serve.ledger.ledger import Ledger
from serve.ledger.store.place import postgres_place

pytestmark = [pytest.mark.e2e, pytest.mark.cluster, pytest.mark.timeout(900)]

PROGRAM = str(Path(__file__).with_name("hosted_script.py"))
PORT = 8000
USD_PER_TOKEN = 1e-4
APIS = ("smollm2-135m", "gemma-3-270m")
HOSTED = {"on-a": "a", "on-b": "b"}
API = """
  - {{name: {name}, backend: openai, model: {name}, base_url: "http://{host}:{port}/v1", max_tokens: 20,
     api_key_env: LEEROO_TEST_API_KEY, timeout_s: 20, price: {{usd_per_mtok_in: 100, usd_per_mtok_out: 100}}}}
"""
ENGINE = """
  - {{name: {name}, backend: vllm, model: "bundled:smollm2-135m-instruct", context_tokens: 1024,
     resources: {{node_labels: {{node: {node}}}}}, price: {{usd_per_mtok_in: 0, usd_per_mtok_out: 0}}}}
"""


class Load:
    """Asks all experts and the router by several doors, again and again, and keeps what became of it."""

    def __init__(self, doors, secret):
        self.asked, self._stop, self._numbers = [], threading.Event(), itertools.count()
        self._headers = {"authorization": f"Bearer {secret}"}
        models = ["leeroo", *APIS, *HOSTED]
        self._threads = [
            threading.Thread(target=self._ask, args=(door, model, number % 2 == 1))
            for door in doors
            for number, model in enumerate(models)
        ]

    def _ask(self, door, model, is_streamed):
        with httpx.Client(timeout=130) as client:
            while not self._stop.is_set():
                name = f"n{next(self._numbers)}"
                said = f"#{name}# ~0.1~ What is the capital of Peru?"
                body = {"model": model, "messages": [{"role": "user", "content": said}], "max_tokens": 20}
                began = time.monotonic()
                try:
                    url = f"{door}/v1/chat/completions"
                    reply = client.post(url, json=body | {"stream": is_streamed}, headers=self._headers)
                    status, text = reply.status_code, reply.text
                except httpx.HTTPError as error:
                    status, text = None, repr(error)
                self.asked.append((door, model, name, began, time.monotonic(), status, text))
                time.sleep(0.1 if status == 200 else 0.3)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def back_at(self, doors, models, *, after):
        """When all these were answered at all doors, of requests sent after a moment, and none failed later.

        None while that is not so: for each, the last two requests have to be answered.
        """
        moments = []
        for door in doors:
            for model in models:
                those = [one for one in list(self.asked) if one[:2] == (door, model) and one[3] > after]
                if len(those) < 2 or {one[5] for one in those[-2:]} != {200}:
                    return None
                failed = [number for number, one in enumerate(those) if one[5] != 200]
                moments.append(those[failed[-1] + 1 if failed else 0][4])
        return max(moments)


def parts_on(nodes, node):
    """The replicas that run on a node, by the names of their deployments."""
    titles = []
    for pid in nodes.processes(node):
        with contextlib.suppress(psutil.Error):
            titles += psutil.Process(pid).cmdline()[:1]
    found = (re.match(r"ray::ServeReplica:leeroo:([\w:-]+)", title) for title in titles)
    return sorted(one[1] for one in found if one)


def refused_well(text):
    return set(json.loads(text)["error"]) == {"message", "type", "param", "code"}


def test_a_node_that_is_killed_under_load_loses_no_money_and_is_replaced(
    ray_nodes, orchestrator, postgres, tmp_path
):
    ray_nodes.restore()
    home, log, catalogue = tmp_path / "home", tmp_path / "serve.log", tmp_path / "experts.yaml"
    uri = f"sqlite:///{home / 'mlflow.db'}"
    home.mkdir()
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    ledger_url = postgres.url(tmp_path)
    place = postgres_place(ledger_url, "the test")
    ledger = Ledger(place)
    key_id, secret = ledger.create_key("ann", budget_usd=500.0, period="total")
    apis = [ApiOfOne(name, "B", tmp_path, ray_nodes.host) for name in APIS]
    content = [API.format(name=api.name, host=ray_nodes.host, port=api.port) for api in apis]
    content += [ENGINE.format(name=name, node=node) for name, node in HOSTED.items()]
    catalogue.write_text("experts:" + "".join(content))
    command = [
        sys.executable,
        PROGRAM,
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        str(PORT),
        "--home",
        str(home),
    ]
    command += ["--catalogue", str(catalogue), "--ingress-replicas", "2"]
    command += [word for name in (*APIS, *HOSTED) for word in ("--expert", name)]
    environment = {"LEEROO_LEDGER": ledger_url, "LEEROO_TEST_API_KEY": API_KEY}
    endpoint = ray_nodes.run("head", command, log=log, environment=environment)
    door = f"http://{ray_nodes.ip('head')}:{PORT}"
    doors = {node: f"http://{ray_nodes.ip(node)}:{PORT}" for node in ("a", "b")}
    try:
        began = time.monotonic()
        wait_until(lambda: endpoint.poll() is not None or "Ready:" in log.read_text(), 150, "no endpoint")
        assert endpoint.poll() is None, log.read_text()
        print(f"\nready after {time.monotonic() - began:.1f} s")
        wait_until(
            lambda: all("ingress" in parts_on(ray_nodes, node) for node in doors),
            20,
            "one node has no ingress",
        )
        (victim,) = [node for node in doors if "bookkeeper" in parts_on(ray_nodes, node)]
        (other,) = set(doors) - {victim}
        print({node: parts_on(ray_nodes, node) for node in doors})
        lost = {name for name, node in HOSTED.items() if node == victim}
        staying = ["leeroo", *APIS, *(HOSTED.keys() - lost)]
        with Load([door, *doors.values()], secret) as load:
            began, everywhere = time.monotonic(), [door, *doors.values()]
            wait_until(lambda: load.back_at(everywhere, [*staying, *lost], after=began), 100, "no load")
            killed_at = time.monotonic()
            ray_nodes.kill(victim)
            wait_until(lambda: victim not in ray_nodes.alive(), 100, "the lost node is not missed")
            dead_s = time.monotonic() - killed_at
            left = [door, doors[other]]
            wait_until(lambda: load.back_at(left, staying, after=killed_at), 150, "not back")
            back_s = load.back_at(left, staying, after=killed_at) - killed_at
            restored_at = time.monotonic()
            ray_nodes.restore()
            node_s = time.monotonic() - restored_at
            wait_until(
                lambda: load.back_at([door], lost, after=restored_at), 150, "the lost expert is not back"
            )
            full_s = load.back_at([door], lost, after=restored_at) - restored_at
        print(f"the node of bookkeeper and {sorted(lost)} was killed: all others answer after {back_s:.1f} s")
        print(f"Ray had missed it by {dead_s:.1f} s;", end=" ")
        print(f"a new node took {node_s:.1f} s to start, and all answer {full_s:.1f} s after its start began")
        report(load, killed_at, doors[victim])

        for d, _model, _name, _, _, status, text in load.asked:
            if status is None:
                assert d == doors[victim], text  # its own door went with the node
            elif status == 200 and text.startswith("data:"):
                assert text.endswith("data: [DONE]\n\n") or refused_well(last_piece(text)), text[-300:]
            elif status == 200:
                assert json.loads(text)["choices"]
            else:
                assert refused_well(text), (status, text)

        wait_until(lambda: ledger.find_key(key_id).reserved_usd == 0, 60, "something stays reserved")
        check_money(ledger.find_key(key_id), apis, load)
        assert check_books(place).faults == ()
        endpoint.send_signal(signal.SIGTERM)
        assert endpoint.wait(120) == 0, log.read_text()
    finally:
        print(log.read_text()[-3000:])
        if endpoint.poll() is None:
            endpoint.kill()
        for api in apis:
            api.process.kill()
            api.process.wait()


def last_piece(text):
    pieces = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return pieces[-1]


def report(load, killed_at, victims_door):
    after = [one for one in load.asked if one[4] > killed_at]
    by_door = Counter((one[0] == victims_door, one[5]) for one in after)
    whys = Counter(
        (one[5], json.loads(one[6])["error"]["code"]) for one in after if one[5] not in (None, 200)
    )
    slowest_s = max(one[4] - one[3] for one in after if one[5] == 200)
    print(f"{len(load.asked)} requests, {len(after)} of them ended after the kill")
    print(
        "at the killed node's door, by status:",
        {status: n for (is_there, status), n in by_door.items() if is_there},
    )
    print(
        "and at the two other doors:",
        {status: n for (is_there, status), n in by_door.items() if not is_there},
    )
    print("refused for:", dict(whys), f"; the slowest answer took {slowest_s:.1f} s")


def check_money(key, apis, load):
    """What the APIs have billed is charged: exactly for what was answered, at most the bound for the rest."""
    bills = {}
    for api in apis:
        for line in api._bill.read_text().splitlines():
            name, tokens = json.loads(line)
            bills.setdefault(name, []).append(tokens)
    names = [one[2] for one in load.asked]
    assert set(bills) <= set(names)
    is_whole = {
        one[2]: one[5] == 200 and ("[DONE]" in one[6] or one[6].startswith("{")) for one in load.asked
    }
    billed_usd = USD_PER_TOKEN * sum(map(sum, bills.values()))
    open_calls = sum(len(tokens) for name, tokens in bills.items() if not is_whole[name])
    bound_usd = USD_PER_TOKEN * 100
    print(
        f"billed {billed_usd:.4f} USD for {sum(map(len, bills.values()))} calls, charged {key.spent_usd:.4f};"
        f" {open_calls} calls were billed without a whole answer,"
        f" {sum(len(tokens) - 1 for tokens in bills.values())} asked twice"
    )
    assert billed_usd <= key.spent_usd + 1e-9
    unknown = sum(not whole for whole in is_whole.values()) + sum(
        len(tokens) - 1 for tokens in bills.values()
    )
    assert key.spent_usd <= billed_usd + bound_usd * unknown
