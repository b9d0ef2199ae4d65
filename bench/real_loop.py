"""The loop with the small real models: ``python -m bench.real_loop --home HOME``, after `leeroo demo`.

Serves the champion beside its experts, asks questions that no round has seen through the official client, and
says of each answer whether the right one was in it; learns; puts what was learned to the gate; serves again.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
from mlflow import MlflowClient

from orchestrator.versions.mlflow_registry import MODEL_NAME, champion_version, versions
from pipelines.commands.demo import DOMAINS, free_port
from pipelines.questions.make import make_questions
from pipelines.ray_session import serving_session
from pipelines.traffic.learn import run_learn
from pipelines.traffic.settings import LearnSettings, ShadowSettings
from serve.config import ServeConfig
from serve.ledger.traffic.carrying import carry_traffic
from serve.run import start_serving, stop_serving
from warehouse.home import Home

AT_ONCE = 4
Question = tuple[str, str, str]  # domain, prompt, answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".leeroo"))
    parser.add_argument("--per-domain", type=int, default=25, help="questions that are asked first")
    parser.add_argument("--afterwards", type=int, default=5, help="and once it has learned")
    parser.add_argument("--explore-share", type=float, default=0.3)
    parser.add_argument("--shadows", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    home = Home.open(arguments.home)
    first = champion_version(home.mlflow_uri)
    asked = draw(home, arguments.per_domain + arguments.afterwards, arguments.seed)
    early = [one for i, one in enumerate(asked) if i % (len(asked) // len(DOMAINS)) < arguments.per_domain]
    late = [one for one in asked if one not in early]
    with endpoint(home, arguments.explore_share) as (users, config):
        ask_all(users, early)
        deadline = time.monotonic() + 120
        while home.warehouse().scan("traffic", ["request_id"]).num_rows < len(early):
            carry_traffic(config)
            if time.monotonic() > deadline:
                raise SystemExit("the traffic has not come to the warehouse")
    began = time.monotonic()
    settings = LearnSettings(
        budget_usd=1.0, seeds=2, seed=arguments.seed, shadow=ShadowSettings(requests=arguments.shadows)
    )
    found = run_learn(settings, home, lambda event: print(f"  {event}"))
    print(f"learned in {time.monotonic() - began:.0f} s for ${found.cost_usd:.6f}: version {found.version}")
    print(f"  promoted: {found.promoted} (champion was {first}); {found.verdict}")
    client = MlflowClient(home.mlflow_uri)
    for version in versions(home.mlflow_uri):
        print(f"  MLflow: version {version.version} {list(version.aliases)}")
        tags = client.get_model_version(MODEL_NAME, version.version).tags
        for tag, told in tags.items():
            print(f"    {tag}: {told}")
    with endpoint(home, 0.0) as (users, _):
        ask_all(users, late)


def draw(home: Home, per_domain: int, seed: int) -> list[Question]:
    """Questions of the demo's domains that the home does not hold, domain by domain."""
    held = home.warehouse().scan("questions", ["question_id"])["question_id"].to_pylist()
    rows = make_questions(
        DOMAINS, per_domain, seed=1_000 + seed, round="asked", exclude=set(held)
    ).to_pylist()
    return [(row["domain"], row["prompt"], row["choices"][int(row["answer"])]) for row in rows]


@contextmanager
def endpoint(home: Home, explore_share: float) -> Iterator[tuple[openai.OpenAI, ServeConfig]]:
    config = ServeConfig(
        home=home.path, access="open", port=free_port(), record="texts", explore_share=explore_share,
        tracking_uri=home.mlflow_uri, warehouse_url=home.warehouse_url,
    )  # fmt: skip
    with serving_session(config):
        began = time.monotonic()
        url = start_serving(config)
        print(f"served after {time.monotonic() - began:.0f} s")
        try:
            yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=120, max_retries=1), config
        finally:
            stop_serving()


def ask_all(client: openai.OpenAI, questions: list[Question]) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(lambda question: ask_and_tell(client, question), questions))
    right = Counter(expert for expert, _, is_right in told if is_right)
    who, by = Counter(expert for expert, _, _ in told), Counter(version for _, version, _ in told)
    print(f"{len(told)} asked in {time.monotonic() - began:.0f} s, by router version {dict(by)}")
    for expert, count in who.most_common():
        print(f"  {expert}: {count} answers, {right[expert]} right")


def ask_and_tell(client: openai.OpenAI, question: Question) -> tuple[str, str, bool]:
    """Return who answered, by which router version, and whether the right answer was in it."""
    _, prompt, wanted = question
    answer = client.chat.completions.create(
        model="leeroo", messages=[{"role": "user", "content": prompt}], max_tokens=24
    )
    said = (answer.choices[0].message.content or "").casefold()
    details = answer.leeroo  # type: ignore[attr-defined]
    is_right = wanted.casefold() in said
    told = {"request_id": details["request_id"], "thumb": "up" if is_right else "down"}
    client.post("/feedback", body=told, cast_to=object)
    return str(details["expert"]), str(details["router_version"]), is_right


if __name__ == "__main__":
    main()
