import json
from dataclasses import fields, is_dataclass, replace

import pytest

from experts import load_catalogue
from pipelines.questions.sources.base import QuestionSettings
from pipelines.selfplay.round_record import RoundFolder, RoundRecord
from pipelines.selfplay.settings import AskingSettings, RouterSettings, SelfplaySettings, UniverseSettings
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
    experts = load_catalogue().experts
    before = SelfplaySettings()
    after = SelfplaySettings(
        universe=UniverseSettings(max_experts=1, max_cost_usd=1e-6),
        router=RouterSettings(predictor="stack", embedder="wordllama", seeds=1),
    )
    record = RoundRecord(tmp_path / "r0.json")
    record.check(before.decisive(experts), before.by_step())
    record.check(after.decisive(experts), after.by_step())
    with pytest.raises(InputError, match="seed was 0 when it began"):
        record.check(SelfplaySettings(questions=QuestionSettings(seed=1)).decisive(experts))


#: What a round's record held before settings stood in groups.
OLD_SETTINGS = {
    "explore": 0.7, "questions": None, "limit": None, "frozen": None, "frozen_questions": 24,
    "domains": ["geography/capital", "arithmetic/chain_sum"], "per_domain": 25, "round_questions": 50,
    "writer": None, "written_share": 0.25, "judge": None, "seed": 0,
}  # fmt: skip
OLD_TRAINING = {"version": "1", "settings": {"predictor": "knn", "embedder": "wordllama", "seeds": 1}}
OLD_UNIVERSE = {
    "experts": ["a"], "expected_score": 0.5, "expected_cost_usd": 1e-6, "gap": 0.0,
    "settings": {"max_experts": None, "max_cost_usd": None, "embedder": "wordllama"},
}  # fmt: skip


def test_an_old_record_of_a_round_resumes(tmp_path):
    experts = load_catalogue().experts
    versions = {spec.name: spec.version for spec in experts}
    path = tmp_path / "r0.json"
    old = {
        "settings": OLD_SETTINGS | {"experts": versions},
        "universe": OLD_UNIVERSE,
        "training": OLD_TRAINING,
    }
    path.write_text(json.dumps(old))
    settings = SelfplaySettings(
        questions=QuestionSettings(
            frozen_count=24,
            domains=("geography/capital", "arithmetic/chain_sum"),
            per_domain=25,
            per_round=50,
        ),
        asking=AskingSettings(explore=0.7),
        router=RouterSettings(embedder="wordllama", seeds=1),
    )
    RoundRecord(path).check(settings.decisive(experts), settings.by_step())
    assert json.loads(path.read_text()) == old  # nothing was added, nothing renamed
    for changed, says in (
        (replace(settings, asking=AskingSettings(explore=0.8)), "explore was 0.7 when it began"),
        (
            replace(settings, router=RouterSettings(embedder="wordllama", seeds=2)),
            "seeds was 1 when its training",
        ),
    ):
        with pytest.raises(InputError, match=says):
            RoundRecord(path).check(changed.decisive(experts), changed.by_step())


def test_every_setting_decides_a_round_or_a_step_or_says_that_it_is_free():
    settings = SelfplaySettings()
    flat = set(settings.flat())
    free = {"round", "rounds", "budget_usd", "min_points_per_usd", "address", "catalogue"}
    decisive = set(settings.decisive(())) - {"experts"}
    by_step = {name for own in settings.by_step().values() for name in own}
    assert decisive | by_step | free == flat
    assert not decisive & (by_step | free)


def flat_values(settings):
    """All values of nested settings, in order."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from flat_values(value)
        else:
            yield value


def test_no_setting_is_lost_on_its_way_to_disk():
    settings = SelfplaySettings()
    assert len(list(flat_values(settings))) == len(settings.flat())


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"null", b"[1]", b'"x"', b'{"run": 1}', b'{"run": []}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "r0.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"r0\.json.*To fix it"):
        RoundRecord(path)
    with pytest.raises(InputError, match=r"r0\.json.*To fix it"):
        RoundFolder(tmp_path).used_ids()
