"""An ingress decides as the router's deployment does, with the same files, as long as it may."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_and_sums import make_outcomes

import serve.router.nearby as nearby_module
from orchestrator import Orchestrator
from orchestrator.predictors.registry import offered_predictors
from orchestrator.text.registry import is_static
from orchestrator.train import train_router
from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.config import ServeConfig
from serve.router.deciding import Decider, Loaded, load
from serve.router.deployment import Router
from serve.router.handle import RouterHandle
from serve.router.messages import Lineup, Query
from serve.router.nearby import NearbyDecider, lineup_of
from serve.transport import local_socket

TEXTS = st.text(max_size=40) | st.sampled_from([f"What is {n} + {n * 7}?" for n in range(40)])
QUERIES = st.builds(
    Query,
    TEXTS,
    preset=st.sampled_from([None, "quality", "economy", "none such"]),
    multiplier=st.sampled_from([None, None, 0.0, 1e4]),
    max_cost_usd=st.sampled_from([None, None, 1e-12, 1.5e-6]),
    min_success=st.sampled_from([None, 0.9]),
    allow=st.sampled_from([None, ("smollm2-135m",), ("nobody",)]),
    deny=st.sampled_from([(), ("gemma-3-270m",)]),
    allowance_usd=st.sampled_from([None, None, 1e-6]),
)


def config_of(tmp_path, **fields):
    return ServeConfig(home=tmp_path, **fields)


async def nearby_of(config, router):
    nearby = NearbyDecider(config, router.lineup)
    await nearby.look()
    return nearby


@pytest.fixture(scope="module")
def registry(orchestrator, tmp_path_factory):
    """A champion, and a challenger that differs."""
    home = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    log_version(replace(orchestrator, multiplier=1e5), tracking_uri=uri)
    return home, uri


@pytest.mark.parametrize(("canary_share", "shadow"), [(0.0, False), (0.5, False), (0.3, True)])
def test_an_ingress_decides_as_the_deployment_does(registry, canary_share, shadow):
    home, uri = registry
    config = ServeConfig(home=home, tracking_uri=uri, canary_share=canary_share, shadow=shadow)
    router = Router(config)
    nearby = asyncio.run(nearby_of(config, router))

    @given(st.lists(QUERIES, min_size=1, max_size=8))
    @settings(max_examples=80, deadline=None)
    def compare(queries):
        async def both():
            decider = nearby.get()
            assert decider is not None
            there = [(await router.decide([query]))[0] for query in queries]
            here = [decider.decide([query])[0] for query in queries]
            return here, there

        here, there = asyncio.run(both())
        assert list(map(str, here)) == list(map(str, there))

    compare()
    if canary_share:
        assert {one.version for one in lineup_of(nearby._decider).versions} == {"1", "2"}


def test_a_new_champion_is_followed(orchestrator, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    config = config_of(tmp_path, tracking_uri=uri, poll_champion_s=0.1)

    async def follow():
        router = Router(config)
        nearby = await nearby_of(config, router)
        first = nearby.get().champion.version
        set_champion(uri, log_version(replace(orchestrator, multiplier=7.0), tracking_uri=uri))
        began = time.monotonic()
        while nearby.get().champion.version == first and time.monotonic() - began < 10:
            nearby.get().decide([Query("What is 3 + 21?")])
            await asyncio.sleep(0.02)
        (ruling,) = nearby.get().decide([Query("What is 3 + 21?")])
        return first, ruling, time.monotonic() - began

    first, ruling, took_s = asyncio.run(follow())
    assert (first, ruling.version, ruling.decision.multiplier) == ("1", "2", 7.0)
    assert took_s < 5  # the deployment's own look comes to it


def saved(directory, tmp_path):
    return shutil.copytree(directory, tmp_path / "saved")


def lineups(*given):
    left = list(given)

    async def find():
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    return find


def test_what_cannot_be_decided_here_is_left_to_the_deployment(router_dir, tmp_path, caplog):
    directory = saved(router_dir, tmp_path)
    lineup = lineup_of(Decider(config_of(tmp_path), load("v1", directory)))
    assert lineup.is_fast

    def decider_of(*given):
        async def look():
            nearby = NearbyDecider(config_of(tmp_path), lineups(*given))
            for _ in given:
                await nearby.look()
            return nearby.get()

        return asyncio.run(look())

    assert decider_of(lineup) is not None
    assert decider_of(lineup, replace(lineup, is_fast=False)) is None
    assert decider_of(replace(lineup, node="another")) is None
    assert decider_of(replace(lineup, node="another"), lineup) is not None
    assert decider_of(replace(lineup, versions=(replace(lineup.versions[0], changed_ns=1),))) is None
    assert "have changed since the router read them" in caplog.text
    shutil.rmtree(directory)
    assert decider_of(lineup) is None


def test_a_router_that_is_away_leaves_its_last_word(router_dir, tmp_path):
    lineup = lineup_of(Decider(config_of(tmp_path), load("v1", router_dir)))

    async def follow():
        nearby = NearbyDecider(config_of(tmp_path), lineups(lineup, ConnectionError("away")))
        await nearby.look()
        with pytest.raises(ConnectionError):
            await nearby.look()
        return nearby.get().decide([Query("What is 3 + 21?")])

    assert asyncio.run(follow())[0].version == "v1"


def test_files_that_are_replaced_are_not_read_by_halves(orchestrator, tmp_path):
    orchestrator.save(tmp_path / "v1")
    loaded = load("v1", tmp_path / "v1")
    texts = [f"What is {n} + 5?" for n in range(20)]
    before = loaded.orchestrator.decide(texts)
    train_router(make_outcomes(), embedder="wordllama", predictor="ridge").orchestrator.save(tmp_path / "v1")
    assert loaded.orchestrator.decide(texts) == before
    assert load("v1", tmp_path / "v1").saved != loaded.saved
    shutil.rmtree(tmp_path / "v1")
    assert loaded.orchestrator.decide(texts) == before


@pytest.mark.parametrize("predictor", offered_predictors())
def test_mapped_arrays_decide_to_the_same_bits(predictor, tmp_path):
    trained = train_router(make_outcomes(), embedder="wordllama", predictor=predictor).orchestrator
    trained.save(tmp_path)
    texts = [*make_outcomes().texts, "", "x" * 20_000, "\u00e9\u4e2d <s> \n"]
    mapped, read = Orchestrator.load(tmp_path, mapped=True), Orchestrator.load(tmp_path)
    for one, other in zip(mapped.decide(texts), read.decide(texts), strict=True):
        assert one == other
    arrays = mapped.predictor.state().arrays.values()
    assert any(not array.flags.owndata and not array.flags.writeable for array in arrays)


def test_static_is_what_every_part_is():
    assert is_static("wordllama")
    assert not is_static("minilm-int8+wordllama")
    assert not is_static("no such")


SCRIPT = """
import sys
from pathlib import Path
import serve.ingress
from serve.router.deciding import load
from serve.router.messages import Query
loaded = load("v1", Path(sys.argv[1]))
assert loaded.is_fast and loaded.rule([Query("What is 3 + 21?")])[0].version == "v1"
print([name for name in ("mlflow", "torch", "onnxruntime", "transformers", "sklearn") if name in sys.modules])
shared = set()
for line in Path("/proc/self/smaps").read_text().splitlines():
    if "-" in line.split(" ")[0]:
        file = line.split(" ")[-1]
    elif line.startswith("Private_Dirty") and file.endswith(".safetensors"):
        assert line.split()[1] == "0", (file, line)
        shared.add(Path(file).name)
print(sorted(shared))
"""


def test_an_ingress_loads_little_and_shares_its_pages(router_dir):
    for file in router_dir.rglob("*"):  # what is not on the disk yet counts as dirty, whoever wrote it
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())
    run = [sys.executable, "-c", SCRIPT, str(router_dir)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "['l2_supercat_256.safetensors', 'states.safetensors']"]


def test_a_contextual_challenger_keeps_decisions_in_the_deployment(orchestrator, tmp_path):
    class Contextual:
        name = "minilm-int8"

    champion = Loaded("1", orchestrator)
    slow = Loaded("2", replace(orchestrator, embedder=Contextual()))
    assert lineup_of(Decider(config_of(tmp_path), champion)).is_fast
    lineup = lineup_of(Decider(config_of(tmp_path), champion, slow))
    assert replace(lineup, node="") == Lineup("", (), is_fast=False)


def test_no_decision_waits_for_long(router_dir, tmp_path):
    decider = Decider(config_of(tmp_path), load("v1", router_dir))
    took = []
    for n in range(200):
        began = time.process_time()
        decider.decide([Query(f"What is the capital of Peru, asked for the {n}th time, in a sentence?")])
        took.append(time.process_time() - began)
    assert np.median(took) < 3e-3, f"{np.median(took) * 1e3:.2f} ms"  # 0.5 on an idle machine


class Method:
    """A method of a deployment, as its handle offers it."""

    def __init__(self, method):
        self._method = method
        self.calls = 0

    def remote(self, *arguments):
        self.calls += 1
        return self._method(*arguments)


class Context:
    def get_node_id(self):
        return ""


def test_the_deployment_decides_until_an_ingress_can(router_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(local_socket.ray, "get_runtime_context", Context)
    monkeypatch.setattr(nearby_module, "LOOK_S", 0.05)
    config = config_of(tmp_path, router_dir=router_dir)
    names = ("address", "decide", "lineup_address", "lineup", "version", "presets")

    async def go():
        router = Router(config)
        handle = SimpleNamespace(**{name: Method(getattr(router, name)) for name in names})
        client = RouterHandle(handle, config)
        query = Query("What is 3 + 21?")
        decided, may_look = [], asyncio.Event()
        look = client._nearby.look

        async def look_in_time():
            await may_look.wait()
            await look()

        async def decide():
            before = len(decided)
            rulings = [await client.decide(query) for _ in range(3)]
            assert rulings[0] == rulings[1] == rulings[2]
            return len(decided) - before

        monkeypatch.setattr(router, "_decider", Counted(router._decider, decided))
        monkeypatch.setattr(client._nearby, "look", look_in_time)
        first = await decide()
        presets = [await client.presets()]
        may_look.set()
        await wait_for(lambda: client._nearby.get() is not None)
        here = await decide()
        presets.append(await client.presets())
        assert handle.presets.calls == 1  # the deployment told them until they could be read here
        assert presets == [router._decider.champion.orchestrator.presets] * 2
        monkeypatch.setattr(Loaded, "is_fast", False)
        await wait_for(lambda: client._nearby.get() is None)
        return first, here, await decide(), await client.version(), handle.lineup.calls

    first, here, last, version, by_handle = asyncio.run(go())
    assert (first, here, last, version) == (3, 0, 3, router_dir.name)
    assert by_handle == 0  # looks go by the socket


def test_what_comes_at_once_is_decided_together_in_small_groups(router_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(local_socket.ray, "get_runtime_context", Context)
    config = config_of(tmp_path, router_dir=router_dir)
    loaded, groups = Decider(config, load("v1", router_dir)), []

    class Grouped:
        def decide(self, queries):
            groups.append(len(queries))
            return loaded.decide(queries)

    async def go():
        client = RouterHandle(
            SimpleNamespace(**dict.fromkeys(("address", "decide", "lineup_address", "lineup"))), config
        )
        monkeypatch.setattr(client._nearby, "get", Grouped)
        queries = [Query(f"What is {n} + 21?") for n in range(19)]
        together = await asyncio.gather(*(client.decide(query) for query in queries))
        one_by_one = [await client.decide(query) for query in queries]
        assert together == one_by_one  # to the same bits

    asyncio.run(go())
    assert groups == [8, 8, 3] + [1] * 19


class Counted:
    """A decider that notes how often it was asked."""

    def __init__(self, decider, decided):
        self._decider, self._decided = decider, decided

    def decide(self, queries):
        self._decided.extend(queries)
        return self._decider.decide(queries)

    def __getattr__(self, name):
        return getattr(self._decider, name)


async def wait_for(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def test_an_ingress_on_another_node_decides_by_the_registrys_copy(registry, tmp_path):
    home, uri = registry
    config = ServeConfig(home=home, tracking_uri=uri, canary_share=0.5)
    router = Router(config)

    async def elsewhere():
        lineup = await router.lineup()
        gone = tuple(replace(one, directory=str(tmp_path / "gone")) for one in lineup.versions)
        return replace(lineup, node="another", versions=gone)

    async def lost():
        raise ConnectionError("the router's node is lost")

    nearby = NearbyDecider(config, elsewhere)
    asyncio.run(nearby.look())
    first = nearby._decider.champion
    queries = [Query(text) for text in ("What is 3 + 21?", "What is the capital of Peru?")]
    assert list(map(str, nearby._decider.decide(queries))) == list(
        map(str, asyncio.run(router.decide(queries)))
    )
    asyncio.run(nearby.look())
    assert nearby._decider.champion is first  # loaded once
    nearby._find_lineup = lost
    with pytest.raises(ConnectionError):
        asyncio.run(nearby.look())
    assert nearby._decider.decide(queries)


def test_a_routers_folder_on_another_node_is_left_to_its_deployment(router_dir, tmp_path):
    config = config_of(tmp_path, router_dir=router_dir)

    async def elsewhere():
        return replace(await Router(config).lineup(), node="another")

    nearby = NearbyDecider(config, elsewhere)
    asyncio.run(nearby.look())
    assert nearby._decider is None
