from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.answering.domains import DomainResult, find_domain_gaps, measure_domains
from pipelines.commands.round_tables import domain_table
from pipelines.selfplay.learn import gap_lines
from warehouse import Warehouse, question_id


def result(domain: str, expert: str, accuracy: float, low: float, chance: float = 0.25) -> DomainResult:
    return DomainResult(expert, domain, 40, accuracy, low, accuracy + 0.1, chance, 100, 10, 0.001, 0)


def test_a_gap_is_a_domain_where_nobody_beats_guessing() -> None:
    results = [
        result("sums", "a", 0.30, 0.16),
        result("sums", "b", 0.26, 0.13),
        result("capitals", "a", 0.30, 0.16),
        result("capitals", "b", 0.80, 0.68),
    ]
    gaps = find_domain_gaps(results)
    assert [(gap.domain, gap.best_expert) for gap in gaps] == [("sums", "a")]
    assert "0.30 on 40 questions; guessing scores 0.25" in gap_lines(gaps)[0]
    assert gap_lines([]) == ["Gaps: none; in every domain some expert is better than guessing."]
    assert domain_table(results).row_count == 4


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60))
def test_domain_measures_come_from_the_warehouse(scores: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Warehouse(folder)
        n = len(scores)
        ids = [question_id(f"q{i}", ["x", "y"], "0") for i in range(n)]
        store.append(
            "questions",
            pa.table(
                {"question_id": ids, "source": ["s"] * n, "domain": ["d"] * n, "answer": ["0"] * n,
                 "prompt": [f"q{i}" for i in range(n)], "choices": [["x", "y"]] * n, "kind": ["choice"] * n}
            ),
            round="r0",
        )  # fmt: skip
        answers = {"question_id": ids, "expert": ["e"] * n, "expert_version": ["v"] * n,
                   "score": pa.array(scores, pa.float32()), "prompt_tokens": pa.array([3] * n, pa.int32()),
                   "cost_usd": [0.5] * n}  # fmt: skip
        store.append("answers", pa.table(answers), round="r0", expert="e")
        with store.connect() as connection:
            (measured,) = measure_domains(connection, ids, ["e"])
            assert measure_domains(connection, ids, ["other"]) == []
    assert measured.questions == n
    assert measured.accuracy == pytest.approx(sum(scores) / n)
    assert 0 <= measured.low <= measured.accuracy <= measured.high <= 1
    assert measured.chance == 0.5
    assert measured.prompt_tokens == 3 * n
    assert measured.cost_usd == pytest.approx(0.5 * n)
    if n < 4:
        assert not measured.knows


def test_home_refuses_a_relative_path_in_a_ray_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from warehouse import InputError
    from warehouse.home import Home

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Home.open(tmp_path).mlflow_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert Home.open(tmp_path).path == tmp_path
    job = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1"
    for lost in (".leeroo", f"{job}/home", "./a/b"):
        with pytest.raises(InputError, match="throw-away copy"):
            Home.open(Path(lost))
        with pytest.raises(InputError, match=r"warehouse .*throw-away copy"):
            Home.open(tmp_path, warehouse_url=lost)
        with pytest.raises(InputError, match=r"MLflow .*throw-away copy"):
            Home.open(tmp_path, mlflow_uri=f"sqlite:///{lost}")
    kept = Home.open(tmp_path, warehouse_url="s3://bucket/w", mlflow_uri="http://mlflow:5000")
    assert (kept.warehouse_url, kept.mlflow_uri) == ("s3://bucket/w", "http://mlflow:5000")
    assert Home.open(Path("~/leeroo")).path == Path.home() / "leeroo"


def test_a_second_home_keeps_its_own_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mlflow

    from pipelines.tracked_run import tracked_run
    from warehouse.home import Home

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("one", "two"):
        home = Home.open(tmp_path / name)
        with tracked_run(home, name) as run_id:
            pass
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path / name / 'mlflow.db'}")
        assert client.get_run(run_id).info.run_name == name
