"""From outcomes to decisions: training, constraints, saving, evaluation."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from synthetic import TOPICS, make_outcomes

from orchestrator import Orchestrator, evaluate_router, load_embedder, train_router
from orchestrator.evaluation.benchmark_table import render_details
from orchestrator.evaluation.report_files import write_report
from orchestrator.text.embedder import WeightsIdentity
from orchestrator.text.embedding_cache import CachedEmbedder
from orchestrator.text.queries import read_queries
from orchestrator.text.splits import frozen_split, split_by_text
from warehouse import InputError, NobodyMayAnswerError, NotReadyError, TooFewError

ALGEBRA = "Question: ring ideal field kernel polynomial root?"
HISTORY = "Question: king treaty empire war crown dynasty?"


def test_it_learns_who_is_good_at_what(orchestrator):
    algebra, history = orchestrator.decide([ALGEBRA, HISTORY], multiplier=0.0)
    assert algebra.expert == "algebraist"
    assert history.expert == "historian"
    assert set(algebra.fallbacks) | {algebra.expert} == set(orchestrator.experts)
    assert algebra.cost_usd["generalist"] > 5 * algebra.cost_usd["algebraist"]


def test_constraints_of_a_request(orchestrator):
    (denied,) = orchestrator.decide([ALGEBRA], deny=["algebraist"])
    assert "algebraist" not in (denied.expert, *denied.fallbacks)
    (only,) = orchestrator.decide([ALGEBRA], allow=["chemist"])
    assert (only.expert, only.fallbacks) == ("chemist", ())
    (capped,) = orchestrator.decide(
        [ALGEBRA], allow=["chemist", "generalist"], max_cost_usd=2e-4, multiplier=0
    )
    assert capped.expert == "chemist"
    (sure,) = orchestrator.decide([ALGEBRA], deny=["algebraist"], min_success=0.5, multiplier=1e9)
    assert sure.expert == "generalist"
    (hopeless,) = orchestrator.decide([ALGEBRA], min_success=0.999)
    assert hopeless.expert == max(hopeless.success, key=hopeless.success.__getitem__)
    assert "nobody" in hopeless.reason


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"allow": ["nobody"]}, "no expert is called"),
        ({"allow": ["chemist"], "deny": ["chemist"]}, "leave no expert"),
        ({"max_cost_usd": 1e-9}, "expected to answer for"),
        ({"preset": "best"}, "no preset"),
        ({"multiplier": -1.0}, "multiplier"),
    ],
)
def test_impossible_constraints_are_bad_input(orchestrator, constraint, message):
    with pytest.raises((InputError, NobodyMayAnswerError), match=message):
        orchestrator.decide([ALGEBRA], **constraint)


def test_saved_decisions_are_the_same_to_the_bit_alone_or_in_a_batch(orchestrator, tmp_path):
    texts = make_outcomes(40, seed=3).texts
    orchestrator.save(tmp_path)
    loaded = Orchestrator.load(tmp_path)
    batch = orchestrator.decide(texts)
    assert loaded.decide(texts) == batch
    assert [loaded.decide([text])[0] for text in texts] == batch
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".json", ".safetensors")]


def test_loading_nothing_is_bad_input(tmp_path):
    with pytest.raises(NotReadyError, match="no orchestrator"):
        Orchestrator.load(tmp_path)


def test_splits_keep_copies_together_and_rotate_over_everything(outcomes):
    texts = [*outcomes.texts, *(text.upper() for text in outcomes.texts[:50])]
    n = len(outcomes)
    for split in (split_by_text(texts, seed=7), frozen_split(texts)):
        parts = [set(part.tolist()) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(texts)
        for i in range(50):
            assert sum(i in part and n + i in part for part in parts) == 1
    tests = np.concatenate([split_by_text(texts, seed=seed).test for seed in range(5)])
    assert sorted(tests.tolist()) == list(range(len(texts)))


def test_questions_that_differ_in_their_choices_alone_share_a_part(outcomes):
    prompts = [f"Which is right, {i}?" for i in range(60)]
    twice = replace(
        outcomes.take(np.arange(120)),
        prompts=(*prompts, *prompts),
        texts=tuple(f"{prompt}\n{i}\n{i + 1}" for i, prompt in enumerate((*prompts, *prompts))),
    )
    trained = train_router(twice, embedder="wordllama", predictor="knn").orchestrator
    learned = trained.predictor.state().arrays["score"]
    assert len(learned) == 120 - len(frozen_split(twice.prompts).test)
    for split in (split_by_text(twice.prompts, seed=0), frozen_split(twice.prompts)):
        assert np.array_equal(split.test[split.test >= 60], split.test[split.test < 60] + 60)


def test_of_a_long_text_both_ends_are_embedded_and_the_whole_length_counts(orchestrator):
    middle, ends = "b" * 100_000, ("ring ideal " * 400)[:4_000]
    long, short = f"{ends}{middle}{ends}", f"{ends}\n{ends}"
    queries = read_queries([long, short, f"{ends}{ends}"], orchestrator.embedder)
    assert np.array_equal(queries.embeddings[0], queries.embeddings[1])
    assert not np.array_equal(queries.embeddings[1], queries.embeddings[2])  # a text of 8,000 is read whole
    assert queries.surface[:2, 0] == pytest.approx(np.log([len(long), len(short)]))


def test_frozen_split_does_not_move_when_data_grows(outcomes):
    few = frozen_split(outcomes.prompts[:100])
    all_of_it = frozen_split(outcomes.prompts)
    assert [i for i in all_of_it.test if i < 100] == few.test.tolist()


@pytest.mark.parametrize("name", ["wordllama", "minilm-int8", "minilm-shallow"])
def test_embeddings_are_unit_rows_and_do_not_depend_on_the_batch(name):
    embedder = load_embedder(name)
    texts = ["What is a ring?", "Who was crowned in 1066?\nHarold\nWilliam", "x" * 3000]
    vectors = embedder.embed(texts)
    assert vectors.shape == (3, embedder.dim)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vectors, np.vstack([embedder.embed([text]) for text in texts]))


def test_cache_computes_each_text_once(tmp_path):
    class Counting:
        name, dim, widths = "counting", 2, (2,)
        weights = (WeightsIdentity("counting", 1, "0" * 64, "none 1.0"),)
        calls = 0

        def embed(self, texts):
            self.calls += len(texts)
            return np.array([[len(text), 1.0] for text in texts], np.float32)

    inner = Counting()
    first = CachedEmbedder(inner, tmp_path).embed(["a", "bb", "a"])
    again = CachedEmbedder(inner, tmp_path).embed(["bb", "ccc"])
    assert inner.calls == 3
    assert np.array_equal(first[1], again[0])


def test_unknown_names_are_bad_input(outcomes):
    with pytest.raises(InputError, match="no embedder"):
        load_embedder("word2vec")
    with pytest.raises(InputError, match="no predictor"):
        train_router(outcomes, embedder="wordllama", predictor="oracle")


def test_evaluation_orders_the_rows_as_they_must_be(tmp_path):
    report = evaluate_router(
        make_outcomes(600), embedder="wordllama", seeds=2, replicates=50, budgets=(0.5, 1.0)
    )
    names = [row.name for row in report.rows]
    assert names == ["random", "cheapest", "best single", "zero-router", "knn", "matched random", "oracle"]
    accuracy = {row.name: row.measures["accuracy"] for row in report.rows}
    assert accuracy["random"].value < accuracy["best single"].value < accuracy["knn"].value
    assert accuracy["matched random"].value < accuracy["knn"].value < accuracy["oracle"].value
    assert accuracy["knn"].low < accuracy["knn"].value < accuracy["knn"].high
    assert report.difference("knn", "zero-router", "aiq_log").low > 0
    assert (
        report.row("knn").measures["cost@0.5"].value
        <= 0.55 * report.row("best single").measures["cost_usd"].value
    )
    assert set(report.row("knn").accuracy_by_domain) == set(TOPICS)
    assert sum(report.row("knn").share.values()) == pytest.approx(1)
    knn, oracle = report.row("knn").measures, report.row("oracle").measures
    assert oracle["qnc"].value < knn["qnc"].value < 1  # it matches the best single expert, for less
    assert knn["cost_save"].value == pytest.approx(1 - knn["qnc"].value)
    assert knn["perf_gain"].value > 0
    assert oracle["nauc"].value > knn["nauc"].value > report.row("zero-router").measures["nauc"].value
    assert (oracle["opt_sel"].value, oracle["opt_acc"].value) == (1, 1)
    assert knn["opt_acc"].value == pytest.approx(knn["accuracy"].value / oracle["accuracy"].value, rel=0.01)
    assert knn["regret@0.5"].value >= 0
    assert "apgr" not in knn  # of pairs alone
    assert 0 < report.latency["knn"].p50_s <= report.latency["knn"].p99_s
    shown = Console(width=160, file=StringIO())
    shown.print(render_details(report))
    assert f"{knn['qnc'].value:.3f}" in shown.file.getvalue()
    written = write_report(report, tmp_path)
    assert {path.stem for path in written} >= {"cost_accuracy", "calibration", "regret"}
    assert {path.suffix for path in written} == {".json", ".png"}
    assert all(path.stat().st_size > 1000 for path in written)


def test_a_pair_is_measured_by_the_gap_that_it_closes():
    pair = make_outcomes(600).only(["chemist", "generalist"])
    report = evaluate_router(pair, embedder="wordllama", seeds=1, replicates=20)
    measures = report.row("knn").measures
    assert measures["apgr"].value > 0.55  # 0.5 is chance
    assert measures["cpt@20"].value < measures["cpt@50"].value < measures["cpt@80"].value < 0.8


def test_a_pool_that_cannot_be_evaluated_is_bad_input():
    outcomes = make_outcomes(100)
    with pytest.raises(InputError, match="one expert"):
        evaluate_router(outcomes.only(["chemist"]), embedder="wordllama")
    outcomes.score[:60, 0] = np.nan
    outcomes.cost_usd[:60, 0] = np.nan
    with pytest.raises(TooFewError, match="answered by all"):
        evaluate_router(outcomes, embedder="wordllama")


def test_a_free_expert_and_an_unknown_cost_leave_every_figure_known(tmp_path):
    outcomes = make_outcomes(300)
    outcomes.cost_usd[:, 0] = 0
    outcomes.cost_usd[::60, 1] = np.nan  # answered, and nobody knows at what cost
    report = evaluate_router(outcomes, embedder="wordllama", seeds=1, replicates=20)
    for row in report.rows:
        for name, measure in row.measures.items():
            never = row.name == "matched random" and name in ("qnc", "cost_save")  # it never gets as good
            assert np.isfinite(measure.value) or "@" in name or never, (row.name, name)
    write_report(report, tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    assert train_router(outcomes, embedder="wordllama", predictor="knn").orchestrator.decide([ALGEBRA])


def test_what_nobody_knows_the_cost_of_is_not_free():
    outcomes = make_outcomes(300)
    outcomes.cost_usd[:, 3] = np.nan
    with pytest.raises(InputError, match="no answer of generalist has a cost"):
        train_router(outcomes, embedder="wordllama", predictor="knn")
    with pytest.raises(TooFewError, match="at a known cost, of 300 that they answered"):
        evaluate_router(outcomes, embedder="wordllama")


def test_an_evaluation_says_what_it_is_at():
    told = []
    evaluate_router(
        make_outcomes(300),
        embedder="wordllama",
        seeds=2,
        replicates=20,
        on_progress=lambda *s: told.append(s),
    )
    steps, shares = zip(*told, strict=True)
    assert [step.split(",")[0].split(" with")[0] for step in steps] == [
        "reading 300 questions", "split 1 of 2", "split 2 of 2", "intervals",
    ]  # fmt: skip
    assert shares[:2] == (0, 0.25)
    assert list(shares) == sorted(shares)  # by how long its steps take: a split is not always the same
    assert shares[-1] < 1
