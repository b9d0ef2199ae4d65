"""Where an installation's state is looked for, and what is said when it cannot be there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import TrafficRecord
from serve.ledger.traffic.carrying import carry_traffic
from warehouse import InputError, LeerooError, Warehouse
from warehouse.home import Home


def leeroo(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def refusal(*arguments: str | Path) -> str:
    """The message of a command that must end in one."""
    result = leeroo(*arguments)
    assert isinstance(result.exception, LeerooError), result.output
    return str(result.exception)


def test_a_home_that_is_a_file_is_refused_by_every_command(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for command in (["versions"], ["keys", "list"], ["sql", "select 1"], ["doctor"], ["keys", "revoke", "x"]):
        assert "this is a file" in refusal(*command, "--home", file)
        assert "To fix it" in refusal(*command, "--home", file / "below")
    assert file.read_text() == "mine"


def test_a_home_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be made in /proc"):
        Home.open(Path("/proc/leeroo/home"))


@pytest.mark.parametrize("url", ["s3://bucket/home", "gs://bucket", "file:///tmp/home", "memory://x"])
def test_an_object_store_is_no_home(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"a home is a folder.*LEEROO_WAREHOUSE"):
        Home.open(Path(url))
    assert not list(tmp_path.iterdir())  # where a folder called "s3:" was made


def test_the_environment_names_the_warehouse_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEEROO_WAREHOUSE", "elsewhere")  # a path counts from where the command is given
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"prompt": "1 + 1?", "answer": "2"}))
    assert "1 new" in leeroo("import", "questions", questions, "--home", home).output
    assert not (home / "warehouse").exists()
    assert Home.open(home).warehouse_url == str(tmp_path / "elsewhere")
    assert leeroo("sql", "select prompt from questions", "--home", home, "-o", "json").exit_code == 0
    assert Warehouse(tmp_path / "elsewhere").scan("questions").num_rows == 1
    assert Home.open(home, warehouse_url="s3://bucket/leeroo").warehouse_url == "s3://bucket/leeroo"

    row = {"request_id": "r1", "role": "named", "expert": "a", "recording": "features", "round": "serve"}
    ledger = Ledger(home / LEDGER_FILE)
    for url in (Home.open(home).warehouse_url, str(tmp_path / "third")):
        config = ServeConfig(home=home, warehouse_url=url)
        ledger.traffic.keep([TrafficRecord("r1", json.dumps(row).encode())])
        assert carry_traffic(config) == 1
    assert not (home / "warehouse").exists()
    assert Warehouse(tmp_path / "elsewhere").scan("traffic").num_rows == 1
    assert Warehouse(tmp_path / "third").scan("traffic").num_rows == 1


def test_the_endpoint_is_told_where_the_warehouse_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[ServeConfig] = []
    monkeypatch.setattr("serve.deploying.write_deploy_config", lambda config, path: told.append(config))
    command = ["serve", "--write-config", tmp_path / "serve.yaml", "--home", tmp_path]
    leeroo(*command)
    monkeypatch.setenv("LEEROO_WAREHOUSE", "s3://bucket/leeroo")
    leeroo(*command)
    assert [config.warehouse_url for config in told] == [None, "s3://bucket/leeroo"]


def test_the_pages_of_an_mlflow_server_are_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    shown = leeroo("ui", "--home", tmp_path)
    assert shown.exit_code == 0
    assert "open http://mlflow.example:5000" in shown.output


@pytest.mark.parametrize(("name", "says"), [("x" * 300, "300 bytes is too long"), ("\udcff", "no UTF-8")])
def test_a_home_whose_name_cannot_be_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        Home.open(tmp_path / name)
    str(refused.value).encode()
    assert says in str(refused.value)
