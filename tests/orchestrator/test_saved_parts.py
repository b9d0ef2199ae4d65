"""What other versions saved with a router: whatever is missing is told, with a mend, or done without."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from orchestrator import Orchestrator, policy
from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from warehouse import InputError, LeerooError

EXTENDED = Path(__file__).parent / "saved" / "stack"  # a stack with an expert added, by an earlier version
FILES = ("orchestrator.json", "states.json")
ARRAYS = "states.safetensors"
TEXT = "What is a ring?"


@pytest.fixture(scope="module")
def saved(orchestrator, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    m = len(orchestrator.experts)
    model = AnswerModel(np.full(m, 2.0), np.full(m, 0.6), 0.3)
    lengths = AnswerLengths(np.full(m, 4.0), np.ones(m), np.full((m, 3), -0.5), 0.7)
    habits = Habits(
        orchestrator.experts, np.ones(m, bool), np.full(m, 0.1), model, np.full(3, 0.9), lengths, 0.8
    )
    replace(orchestrator, habits=habits).save(directory)
    return directory


@pytest.fixture(scope="module", autouse=True)
def one_embedder(orchestrator):
    """Its weights are read once for all loads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "load_embedder", lambda name: orchestrator.embedder)
        yield


def keys_of(directory: Path) -> list[tuple[str, ...]]:
    """Every field that is saved: the file, then the way to it."""

    def walk(value: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        pairs = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        below = [way for key, one in pairs for way in walk(one, (*path, str(key)))]
        return below if path[-1].isdigit() else [*below, path]  # members of lists are not fields

    found = [way for name in FILES for way in walk(json.loads((directory / name).read_text()), (name,))]
    return [way for way in found if len(way) > 1] + [(ARRAYS, name) for name in load_file(directory / ARRAYS)]


def without(source: Path, target: Path, missing: list[tuple[str, ...]]) -> None:
    """Copy a saved router, some of its fields left out."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for name in FILES:
        content = json.loads((source / name).read_text())
        for _, *way, last in sorted((way for way in missing if way[0] == name), key=len, reverse=True):
            held = content
            for key in way:
                held = held[int(key) if isinstance(held, list) else key]
            del held[int(last) if isinstance(held, list) else last]
        (target / name).write_text(json.dumps(content))
    arrays = load_file(source / ARRAYS)
    save_file({name: one for name, one in arrays.items() if (ARRAYS, name) not in missing}, target / ARRAYS)


def opens_or_tells(directory: Path, *, mapped: bool = False) -> Orchestrator | None:
    try:
        router = Orchestrator.load(directory, mapped=mapped)
    except LeerooError as error:
        fix = error.fix
        router = None
    if router is None:
        assert fix
        assert "train" in fix or "install" in fix
        return None
    (decision,) = router.decide([TEXT])
    assert decision.expert in router.experts
    router.asking_policy()
    return router


def test_any_field_that_is_missing_is_told_or_done_without(saved, tmp_path):
    for source in (saved, EXTENDED):
        told = 0
        for way in keys_of(source):
            without(source, tmp_path, [way])
            told += opens_or_tells(tmp_path) is None
        assert 20 < told < len(keys_of(source))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), mapped=st.booleans())
def test_so_is_any_number_of_them(saved, tmp_path, data, mapped):
    ways = data.draw(st.lists(st.sampled_from(keys_of(saved)), max_size=4, unique=True))
    outer = [way for way in ways if not any(way[: len(other)] == other for other in ways if other != way)]
    without(saved, tmp_path, outer)
    opens_or_tells(tmp_path, mapped=mapped)


@pytest.mark.parametrize("name", [*FILES[1:], ARRAYS])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\x00" * 64])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_is_missing_or_broken_is_told(saved, tmp_path, name, content, mapped):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as told:
        Orchestrator.load(tmp_path, mapped=mapped)
    assert "leeroo train" in str(told.value)


def test_habits_without_a_foresight_are_read_as_they_were_meant(saved, tmp_path):
    without(saved, tmp_path, [(ARRAYS, "asking/foresight")])
    habits = opens_or_tells(tmp_path).habits
    assert habits.foresight == 1.0
    assert np.array_equal(habits.trust, np.full(3, 0.9))


@pytest.mark.parametrize("missing", ["trust", "slopes", "comparable"])
def test_habits_that_cannot_be_read_are_left_out_with_one_word(saved, tmp_path, caplog, missing):
    without(saved, tmp_path, [(ARRAYS, f"asking/{missing}")])
    with caplog.at_level(logging.WARNING):
        router = opens_or_tells(tmp_path)
    assert router.habits is None
    assert not router.asking_policy().habits.comparable.any()
    (word,) = [record.getMessage() for record in caplog.records]
    assert missing in word
    assert "one expert" in word
    assert "leeroo train" in word


@pytest.mark.parametrize("part", ["asking", "predictor", "cost"])
def test_a_part_of_a_later_version_is_not_misread(saved, tmp_path, part, caplog):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    states = json.loads((tmp_path / "states.json").read_text())
    assert states[part]["version"] == 1
    states[part]["version"] = 2
    (tmp_path / "states.json").write_text(json.dumps(states))
    router = opens_or_tells(tmp_path)
    if part == "asking":
        assert router.habits is None
        assert "version 2" in caplog.text
    else:
        assert router is None
