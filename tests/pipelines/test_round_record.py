import pytest

from experts import load_catalogue
from pipelines.selfplay.round_record import RoundRecord
from pipelines.selfplay.run import SelfplayConfig
from warehouse import InputError


def test_a_step_is_done_once_also_after_a_crash(tmp_path):
    path = tmp_path / "rounds" / "r0.json"
    done = []

    def work():
        done.append(1)
        return {"ids": ["a"]}

    def crash():
        raise KeyboardInterrupt

    record = RoundRecord(path)
    assert record.step("questions", work) == {"ids": ["a"]}
    with pytest.raises(KeyboardInterrupt):
        record.step("answers", crash)
    again = RoundRecord(path)
    assert again.step("questions", work) == {"ids": ["a"]}
    assert "answers" not in again
    assert len(done) == 1
    assert not list(path.parent.glob("*.tmp"))


def test_settings_may_not_change_within_a_round(tmp_path):
    path = tmp_path / "r0.json"
    RoundRecord(path).check({"seed": 1, "domains": ("a", "b")})
    RoundRecord(path).check({"seed": 1, "domains": ("a", "b")})
    with pytest.raises(InputError, match="seed was 1 when it began and is 2 now"):
        RoundRecord(path).check({"seed": 2, "domains": ("a", "b")})


def test_a_setting_may_be_mended_until_its_step_is_done(tmp_path):
    path = tmp_path / "r0.json"
    RoundRecord(path).check({"seed": 1}, {"training": {"predictor": "knn", "seeds": 5}})
    later = RoundRecord(path)
    later.check({"seed": 1}, {"training": {"predictor": "stack", "seeds": 5}})
    found = later.step("training", lambda: {"version": "1"}, settings={"predictor": "stack", "seeds": 5})
    assert found["version"] == "1"
    RoundRecord(path).check({"seed": 1}, {"training": {"predictor": "stack", "seeds": 5}})
    with pytest.raises(InputError, match="predictor was 'stack' when its training was done and is 'knn' now"):
        RoundRecord(path).check({"seed": 1}, {"training": {"predictor": "knn", "seeds": 5}})


def test_what_is_used_after_the_answers_does_not_lock_a_round(tmp_path):
    catalogue = load_catalogue()
    before, after = (
        SelfplayConfig(),
        SelfplayConfig(predictor="stack", embedder="wordllama", max_experts=1, max_cost_usd=1e-6, seeds=1),
    )
    record = RoundRecord(tmp_path / "r0.json")
    record.check(before.decisive(catalogue), before.by_step())
    record.check(after.decisive(catalogue), after.by_step())
    with pytest.raises(InputError, match="seed was 0 when it began"):
        record.check(SelfplayConfig(seed=1).decisive(catalogue))


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "r0.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"r0\.json.*To mend it"):
        RoundRecord(path)
