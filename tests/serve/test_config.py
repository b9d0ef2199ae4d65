import pytest

from serve.config import ServeConfig, served_experts
from serve.router.champion import find_version
from universe.pool_file import read_pool
from warehouse import InputError, NotReadyError

KNOWN = ("smollm2-135m", "gemma-3-270m")


def test_the_pool_file_says_who_is_served(tmp_path):
    config = ServeConfig(home=tmp_path)
    assert [spec.name for spec in served_experts(config, KNOWN)] == list(KNOWN)
    (tmp_path / "pool.yaml").write_text("experts: [gemma-3-270m]\n")
    assert [spec.name for spec in served_experts(config, KNOWN)] == ["gemma-3-270m"]
    named = ServeConfig(home=tmp_path, experts=("smollm2-135m",))
    assert [spec.name for spec in served_experts(named, KNOWN)] == ["smollm2-135m"]


@pytest.mark.parametrize("content", ["experts: []", "nothing: 1", "[", ""])
def test_a_damaged_pool_file_is_told(tmp_path, content):
    (tmp_path / "pool.yaml").write_text(content)
    with pytest.raises(InputError, match="universe apply"):
        read_pool(tmp_path)


def test_a_recording_cannot_be_served(tmp_path):
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        "experts:\n"
        "  - {name: old, backend: recorded, model: x, recording: /nowhere,"
        " price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}}\n"
    )
    with pytest.raises(InputError, match="'old' is a recording"):
        served_experts(ServeConfig(home=tmp_path, catalogue=catalogue), ("old",))


def test_a_champion_that_knows_nobody_served_is_told(tmp_path):
    with pytest.raises(InputError, match="knows none"):
        served_experts(ServeConfig(home=tmp_path, experts=("smollm2-135m",)), ("other",))


def test_settings_are_checked():
    with pytest.raises(InputError, match="field potr"):
        ServeConfig.parse({"potr": 1})
    with pytest.raises(InputError, match="field port"):
        ServeConfig.parse({"port": "many"})
    assert ServeConfig.parse({"port": "8001"}).port == 8001


def test_an_empty_home_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(NotReadyError, match="leeroo selfplay"):
        find_version(ServeConfig(home=tmp_path))
