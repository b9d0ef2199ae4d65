import asyncio
import json
import shutil
from dataclasses import replace

from orchestrator.text.registry import load_embedder
from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.config import ServeConfig
from serve.router.deciding import Loaded, decide_all, rule_all
from serve.router.deployment import Router
from serve.router.messages import Query
from warehouse import NobodyMayAnswerError


def decide(orchestrator, queries):
    return decide_all(orchestrator, queries, orchestrator.read([query.text for query in queries]))


def test_a_batch_decides_as_each_alone_and_errors_stay_where_they_belong(orchestrator):
    capital, add = "What is the capital of Peru?", "What is 3 + 21?"
    queries = [
        Query(capital, preset="quality"),
        Query(add, preset="quality"),
        Query(capital, max_cost_usd=1e-12),
        Query(capital, preset="economy"),
        Query(capital, allow=("nobody",)),
        Query(add, preset="quality", deny=("smollm2-135m",)),
    ]
    together = decide(orchestrator, queries)
    alone = [decide(orchestrator, [query])[0] for query in queries]
    for one, other in zip(together, alone, strict=True):
        assert str(one) == str(other)
    refused = [i for i, decision in enumerate(together) if isinstance(decision, NobodyMayAnswerError)]
    assert refused == [2, 4]
    assert [together[i].expert for i in (0, 1, 3, 5)] == [
        "gemma-3-270m",
        "smollm2-135m",
        "smollm2-135m",
        "gemma-3-270m",
    ]


def test_one_impossible_limit_does_not_spoil_the_others_of_its_group(orchestrator):
    short, long = "What is 3 + 21?", "What is 3 + 21? " * 40
    costs = [
        min(d.cost_usd.values())
        for d in decide(orchestrator, [Query(t, preset="quality") for t in (short, long)])
    ]
    limit = sum(costs) / 2
    assert costs[0] != costs[1]
    decided = decide(orchestrator, [Query(short, max_cost_usd=limit), Query(long, max_cost_usd=limit)])
    assert sorted(isinstance(decision, NobodyMayAnswerError) for decision in decided) == [False, True]


QUESTIONS = [f"What is {n} + {n * 7}?" for n in range(200)]


def versions(rulings):
    return [ruling.version for ruling in rulings]


def test_a_canary_gets_its_share_of_the_questions_and_always_the_same_ones(orchestrator):
    champion, challenger = Loaded("1", orchestrator), Loaded("2", orchestrator)
    queries = [Query(text) for text in QUESTIONS]
    ruled = rule_all(champion, challenger, queries, canary_share=0.25, shadow=False)
    assert 0.15 < versions(ruled).count("2") / len(queries) < 0.35
    backwards = rule_all(champion, challenger, queries[::-1], canary_share=0.25, shadow=False)
    assert versions(backwards)[::-1] == versions(ruled)
    assert set(versions(rule_all(champion, challenger, queries, canary_share=0, shadow=False))) == {"1"}
    assert set(versions(rule_all(champion, challenger, queries, canary_share=1, shadow=False))) == {"2"}
    assert set(versions(rule_all(champion, None, queries, canary_share=1, shadow=True))) == {"1"}


def test_a_row_can_tell_for_whom_a_question_was_drawn(orchestrator):
    """Whoever decided; and the next challenger meets other questions than the last one."""
    champion, queries = Loaded("1", orchestrator), [Query(text) for text in QUESTIONS]
    drawn = []
    for version in ("2", "3"):
        ruled = rule_all(champion, Loaded(version, orchestrator), queries, canary_share=0.5, shadow=False)
        assert {ruling.canary_share for ruling in ruled} == {0.5}
        assert [ruling.is_canary for ruling in ruled] == [ruling.version == version for ruling in ruled]
        drawn.append([ruling.is_canary for ruling in ruled])
    assert drawn[0] != drawn[1]
    (alone,) = champion.rule(queries[:1])
    assert (alone.canary_share, alone.is_canary) == (None, False)


def test_a_shadow_decides_too_and_nobody_follows_it(orchestrator):
    champion, challenger = Loaded("1", orchestrator), Loaded("2", orchestrator)
    (ruling,) = rule_all(champion, challenger, [Query(QUESTIONS[0])], canary_share=0, shadow=True)
    assert (ruling.version, ruling.shadow.version) == ("1", "2")
    assert ruling.shadow.decision == ruling.decision
    (refused,) = rule_all(
        champion, challenger, [Query("x", max_cost_usd=1e-12)], canary_share=0.5, shadow=True
    )
    assert isinstance(refused, NobodyMayAnswerError)


def test_what_a_challenger_cannot_decide_falls_to_the_champion(orchestrator):
    class Broken:
        experts = ("someone else",)

    champion, challenger = Loaded("1", orchestrator), Loaded("2", Broken())
    queries = [Query(text, allow=("smollm2-135m",)) for text in QUESTIONS[:4]]
    ruled = rule_all(champion, challenger, queries, canary_share=1, shadow=True)
    assert versions(ruled) == ["1"] * 4
    assert [ruling.shadow for ruling in ruled] == [None] * 4
    assert [(ruling.role, ruling.is_canary) for ruling in ruled] == [("champion", True)] * 4


def decide_with(config, *texts):
    async def decide():
        return await Router(config).decide([Query(text) for text in texts])

    return asyncio.run(decide())


def test_a_broken_challenger_leaves_the_champion_in_office(orchestrator, tmp_path, caplog):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    files = tmp_path / "mlartifacts"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    # It loads, and fails on every question: its predictor knows another embedding.
    misfit = replace(orchestrator, embedder=load_embedder("minilm-shallow"))
    log_version(misfit, tracking_uri=uri)
    config = ServeConfig(home=tmp_path, tracking_uri=uri, shadow=True, canary_share=1)
    ruled = decide_with(config, *QUESTIONS[:2])
    assert [(ruling.version, ruling.shadow) for ruling in ruled] == [("1", None)] * 2
    assert (
        caplog.text.count("the challenger, version 2, cannot decide") == 2
    )  # as a canary, and in the shadow
    for saved in list(files.rglob("orchestrator.json")):
        if json.loads(saved.read_text())["embedder"] == misfit.embedder.name:
            shutil.rmtree(saved.parent)
    assert [ruling.version for ruling in decide_with(config, QUESTIONS[0])] == ["1"]
    assert "cannot load the challenger" in caplog.text
