"""`leeroo learn`: what is asked again, graded, paid once, and trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experts import load_catalogue
from pipelines.answering.round_money import RoundMoney
from pipelines.learning.recorded_requests import embeddings_of
from pipelines.selfplay.round_record import RoundFolder
from pipelines.traffic.as_questions import prompt_of, text_of
from pipelines.traffic.events import ChallengerTrained, Graded, Need, NothingToLearn, Sampled, TrafficRead
from pipelines.traffic.known import read_recent
from pipelines.traffic.learn import LearnResult, run_learn
from pipelines.traffic.round_name import next_round
from pipelines.traffic.settings import LearnSettings, ShadowSettings, read_weights
from pipelines.traffic.watch import Thresholds, watch_traffic
from tests.billing_api import serve_billing
from tests.traffic_world import record_traffic, reply_of, right_letter, write_catalogue
from warehouse import InputError, NotReadyError
from warehouse.home import Home


def settings_of(catalogue: Path, **changes: Any) -> LearnSettings:
    shadow = ShadowSettings(**changes.pop("shadow", {}))
    told = {"budget_usd": 1.0, "predictor": "knn", "embedder": "wordllama", "seeds": 1}
    return LearnSettings(catalogue=str(catalogue), shadow=shadow, **told | changes)


def versions_of(catalogue: Path) -> dict[str, str]:
    return {spec.name: spec.version for spec in load_catalogue(str(catalogue)).experts}


def right_share(home: Home, expert: str) -> tuple[float, int]:
    """How often an expert's answers have the score that they should have, and how many there are."""
    with home.warehouse().connect() as connection:
        rows = connection.sql(
            "select q.prompt, a.text, o.score from outcomes o join questions q using (question_id)"
            " join answers a using (question_id, expert, expert_version)"
            f" where q.source = 'traffic' and o.expert = '{expert}' and o.score is not null"
        ).fetchall()
    agree = [float(text == right_letter(prompt)) == score for prompt, text, score in rows]
    return sum(agree) / max(len(agree), 1), len(agree)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_round_asks_others_the_same_has_them_graded_and_trains(tmp_path: Path, ray_cluster: None) -> None:
    home, events = Home.open(tmp_path / "home"), []
    with serve_billing(reply_of) as (url, books):
        catalogue = write_catalogue(tmp_path / "experts.yaml", url, judge=True)
        record_traffic(home, 160, expert_version=versions_of(catalogue))
        settings = settings_of(catalogue, shadow={"judge": "judge", "requests": 150})
        found = run_learn(settings, home, events.append)
        calls = books.calls()
        print(*events, sep="\n")
        again = run_learn(
            settings_of(catalogue, round=found.round, shadow={"judge": "judge", "requests": 150}), home
        )
        assert books.calls() == calls, "nothing is asked twice"
    assert again == found
    sampled = next(event for event in events if isinstance(event, Sampled))
    graded = next(event for event in events if isinstance(event, Graded))
    assert 0 < sampled.requests <= 150
    assert "cheap" in sampled.asked or "dear" in sampled.asked
    assert graded.open == 0
    assert graded.by["judge"] > 0
    assert graded.by["user@1"] > 0
    store = home.warehouse()
    questions = store.scan("questions").to_pylist()
    assert {q["source"] for q in questions} == {"traffic"}
    assert all(q["kind"] == "judged" and q["parent_id"].startswith("request-") for q in questions)
    share, count = right_share(home, "dear")
    assert count > 30
    assert share == 1.0
    assert right_share(home, "cheap")[0] == 1.0, "the answer that was served is a row too"
    money = RoundMoney(store, found.round)
    assert 0 < money.spent_usd() == pytest.approx(found.cost_usd)
    assert found.version is not None
    assert found.promoted, "there was no champion"
    trained = next(event for event in events if isinstance(event, ChallengerTrained))
    assert trained.traffic == sampled.requests
    assert next_round(RoundFolder(home.rounds)) != found.round


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_cap_counts_answers_and_verdicts(tmp_path: Path, ray_cluster: None) -> None:
    home = Home.open(tmp_path / "home")
    with serve_billing(reply_of) as (url, books):
        catalogue = write_catalogue(tmp_path / "experts.yaml", url, judge=True)
        record_traffic(home, 60, expert_version=versions_of(catalogue), feedback_share=0)
        cap = 0.03
        events: list[Any] = []
        shadow = {"judge": "judge", "judge_by": "pairs"}
        found = run_learn(settings_of(catalogue, budget_usd=cap, shadow=shadow), home, events.append)
        print(*events, sep="\n")
        billed = sum(tokens * {"cheap": 1e-6, "dear": 5e-6, "odd": 2e-6, "judge": 3e-6}[model]
                     for model, tokens in books.tokens.items())  # fmt: skip
        assert billed <= cap
        assert found.cost_usd <= cap
        assert books.tokens["judge"] > 0, "money is kept back for the verdicts"
        sampled = next(event for event in events if isinstance(event, Sampled))
        assert 0 < sampled.requests < 60, "the cap binds"
        graded = next(event for event in events if isinstance(event, Graded))
        assert graded.by["judge"] > 0
        assert graded.by["pairs-served@1"] > 0


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_without_a_judge_users_and_agreement_grade(tmp_path: Path, ray_cluster: None) -> None:
    home, events = Home.open(tmp_path / "home"), []
    with serve_billing(reply_of) as (url, books):
        catalogue = write_catalogue(tmp_path / "experts.yaml", url)
        record_traffic(home, 40, expert_version=versions_of(catalogue), feedback_share=0.5)
        run_learn(settings_of(catalogue, shadow={"requests": 40}), home, events.append)
        assert books.tokens["judge"] == 0
    graded = next(event for event in events if isinstance(event, Graded))
    assert graded.by["user@1"] > 0
    assert graded.judge == ()


def test_features_alone_ask_nobody_and_say_so(tmp_path: Path) -> None:
    home, events = Home.open(tmp_path / "home"), []
    catalogue = write_catalogue(tmp_path / "experts.yaml", "http://127.0.0.1:9/v1")
    record_traffic(home, 30, texts=False)
    found = run_learn(settings_of(catalogue), home, events.append)
    assert events[0] == TrafficRead(found.round, 30, 0, events[0].with_feedback, False)
    assert any(isinstance(event, NothingToLearn) for event in events)
    assert found == LearnResult(found.round, 0, 0.0, None, False, found.verdict)
    assert "graded" in found.verdict


def test_nothing_is_paid_while_nothing_speaks_for_drift(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    catalogue = write_catalogue(tmp_path / "experts.yaml", "http://127.0.0.1:9/v1")
    record_traffic(home, 30, feedback_share=0.0)
    events: list[Any] = []
    result = run_learn(settings_of(catalogue, shadow={"if_needed": True}), home, events.append)
    assert Need(()) in events
    assert (result.requests, result.cost_usd) == (0, 0.0)


def test_novel_queries_and_complaints_are_reasons(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    record_traffic(home, 120, feedback_share=1.0)
    requests = read_recent(home, None)
    rng = np.random.default_rng(0)
    _, own = embeddings_of(requests)
    alike = own + rng.normal(0, 0.05, own.shape).astype(np.float32)
    unlike = (np.eye(own.shape[1])[0] + rng.normal(0, 0.01, own.shape)).astype(np.float32)
    well = Thresholds(success_gap=2.0, shift_success=2.0, cost_ratio=1e9, shift_ratio=1e9, novel_share=1.0)
    assert watch_traffic(requests, alike, well).reasons == ()
    assert "unlike" in watch_traffic(requests, unlike, well).reasons[0]
    assert watch_traffic(requests, alike, Thresholds(success_gap=0.0)).reasons, "odd is worse than forecast"


def test_bad_settings_are_refused_before_any_work(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    catalogue = write_catalogue(tmp_path / "experts.yaml", "http://127.0.0.1:9/v1")
    for changes in (
        {"budget_usd": -1.0}, {"budget_usd": float("nan")}, {"round": "a/b"}, {"shadow": {"days": 0.0}},
        {"shadow": {"key_weights": {"k": -1.0}}}, {"shadow": {"judge_by": "luck"}}, {"predictor": "none"},
        {"shadow": {"judge": "nobody"}},
    ):  # fmt: skip
        with pytest.raises(InputError):
            run_learn(settings_of(catalogue, **changes), home)
    with pytest.raises(NotReadyError, match="no request is recorded"):
        run_learn(settings_of(catalogue), home)
    assert not home.rounds.exists(), "nothing is written"
    assert read_weights(["team=2", "a=b=0.5"]) == {"team": 2.0, "a=b": 0.5}
    with pytest.raises(InputError, match="KEY=NUMBER"):
        read_weights(["team"])


def test_conversations_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert text_of(parts) == "a\nb"
    spoken = (("user", "Hi"), ("assistant", "Hello"), ("user", "?"))
    told = prompt_of([{"role": role, "content": text} for role, text in spoken])
    assert told == "User: Hi\n\nAssistant: Hello\n\nUser: ?\n\nAssistant:"
