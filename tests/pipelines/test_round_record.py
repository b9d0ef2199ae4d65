import pytest

from pipelines.round_record import RoundRecord
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


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "r0.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"r0\.json.*To mend it"):
        RoundRecord(path)
