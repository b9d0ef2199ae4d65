"""The loop closes: serve with exploring, take feedback, learn, prove, promote, and serve what was learned."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from orchestrator.versions.mlflow_registry import champion_version, versions
from pipelines.traffic.challenger import challenge, read_outcomes
from pipelines.traffic.events import ChallengerTrained, Graded
from pipelines.traffic.learn import run_learn
from pipelines.traffic.settings import LearnSettings, ShadowSettings
from serve.config import ServeConfig
from serve.ledger.traffic.carrying import carry_traffic
from tests.billing_api import serve_billing
from tests.ports import free_port
from tests.traffic_world import TOPICS, make_prompt, reply_of, right_letter, train_first, write_catalogue
from warehouse.home import Home

pytestmark = pytest.mark.e2e

ASKED = 200


def ask(client: openai.OpenAI, prompt: str) -> Any:
    return client.chat.completions.create(
        model="leeroo", messages=[{"role": "user", "content": prompt}], max_tokens=16
    )


def ask_and_tell(client: openai.OpenAI, prompt: str) -> str:
    """Ask as a user does, and say whether the answer was right; return who answered."""
    answer = ask(client, prompt)
    is_right = answer.choices[0].message.content.strip() == right_letter(prompt)
    told = {"request_id": answer.leeroo["request_id"], "thumb": "up" if is_right else "down"}
    client.post("/feedback", body=told, cast_to=object)
    return str(answer.model)


@pytest.mark.timeout(400)
def test_what_users_say_of_the_traffic_makes_the_next_champion(tmp_path: Path, ray_cluster: None) -> None:
    from serve.run import start_serving, stop_serving

    home = Home.open(tmp_path / "home")
    home.make()
    with serve_billing(reply_of) as (url, books):
        catalogue = write_catalogue(tmp_path / "experts.yaml", url, judge=True)
        first = train_first(home, catalogue, 200, topics=("sums",))  # it has never heard of rivers
        config = ServeConfig(
            home=home.path, access="open", catalogue=catalogue, experts=("cheap", "dear", "odd"),
            port=free_port(), poll_champion_s=0.5, record="texts", explore_share=0.4, explore_usd_per_day=1.0,
            explore_temperature=0.5,
        )  # fmt: skip
        began = time.monotonic()
        served = start_serving(config)
        try:
            client = openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0, timeout=60)
            prompts = [make_prompt(TOPICS[i % 2], 5_000 + i) for i in range(ASKED)]
            with ThreadPoolExecutor(8) as pool:
                who = list(pool.map(lambda prompt: ask_and_tell(client, prompt), prompts))
            print(f"{ASKED} asked {time.monotonic() - began:.0f} s after the start: "
                  + ", ".join(f"{name} {who.count(name)}" for name in sorted(set(who))))  # fmt: skip
            assert who.count("cheap") > ASKED / 3
            deadline = time.monotonic() + 60
            while home.warehouse().scan("traffic", ["request_id"]).num_rows < ASKED:
                carry_traffic(config)
                assert time.monotonic() < deadline
            events: list[Any] = []
            settings = LearnSettings(
                budget_usd=1.0, catalogue=str(catalogue), seeds=1,
                shadow=ShadowSettings(requests=80, judge="judge"),
            )  # fmt: skip
            paid = books.calls()
            found = run_learn(settings, home, events.append)
            print(*events, sep="\n")
            assert books.calls() > paid
            graded = next(event for event in events if isinstance(event, Graded))
            trained = next(event for event in events if isinstance(event, ChallengerTrained))
            assert graded.by["judge"] > 0
            assert trained.labels > ASKED
            assert found.version not in (None, first)
            kept = next(v for v in versions(home.mlflow_uri) if v.version == found.version)
            assert kept.training_data != ""
            assert "on traffic [" in found.verdict, "the interval is told, and the traffic was heard"
            print(f"learned after {time.monotonic() - began:.0f} s: {found.verdict}")
            assert found.promoted, found.verdict
            assert champion_version(home.mlflow_uri) == found.version
            fresh = (make_prompt("rivers", 9_000 + i) for i in range(400))
            answer = ask(client, next(fresh))
            while answer.leeroo["router_version"] != found.version:
                time.sleep(0.2)
                answer = ask(client, next(fresh))
            after = [str(ask(client, next(fresh)).model) for _ in range(30)]
            print(f"rivers afterwards: dear {after.count('dear')} of 30")
            assert after.count("dear") > 10, "the next answers come from what was learned"
            outcomes = read_outcomes(home.warehouse(), config.experts or ())
            refused = challenge(home, first, found.version, outcomes)
            print(f"after {time.monotonic() - began:.0f} s: version {first} {refused.verdict}")
            assert not refused.promoted
            assert "[" in refused.verdict, "the interval is told to who is refused too"
            assert champion_version(home.mlflow_uri) == found.version
        finally:
            stop_serving()
