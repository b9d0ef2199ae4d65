"""A registry's files lie beside its database: whatever the working directory, and wherever the home goes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import load_champion, load_version, log_version, set_champion
from warehouse import InputError
from warehouse.home import Home
from warehouse.mlflow_places import sqlite_path, sqlite_uri
from warehouse.mlflow_runs import client_of, open_run
from warehouse.mlflow_store import open_store

TEXT = "Question: ring ideal field kernel polynomial root?"
ODD_NAMES = ["with space", "100% right", "a%20b", "what?x=1&y", "h#1", "é ü 家", "[a]{b}", "it's; +so"]

#: Where MLflow writes addresses down.
COLUMNS = (
    "experiments artifact_location",
    "runs artifact_uri",
    "logged_models artifact_location",
    "model_versions storage_location",
)


@pytest.fixture(scope="module")
def trained(orchestrator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion; tests work on copies, which are homes that were moved."""
    home = tmp_path_factory.mktemp("trained") / "home"
    uri = sqlite_uri(home / "mlflow.db")
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    return home


@pytest.fixture(autouse=True)
def no_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def addresses(database: Path) -> list[str]:
    """Every address of files that the database holds."""
    with sqlite3.connect(database) as connection:
        return [
            value
            for table, column in map(str.split, COLUMNS)
            for (value,) in connection.execute(f"select {column} from {table} where {column} is not null")
        ]


def test_training_within_a_round_leaves_nothing_in_the_working_directory(orchestrator, tmp_path, monkeypatch):
    work, home = tmp_path / "work", Home.open(tmp_path / "home")
    work.mkdir()
    monkeypatch.chdir(work)
    uri = home.mlflow_uri
    with open_run(uri, "leeroo", "selfplay") as run, open_run(uri, "leeroo", "round") as inner:
        set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    assert list(work.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(work)
    assert load_champion(home.mlflow_uri)[0].decide([TEXT]) == orchestrator.decide([TEXT])
    assert all(place.startswith(home.artifacts.as_uri()) for place in addresses(home.path / "mlflow.db"))
    runs = {r.info.run_name: r for r in client_of(home.mlflow_uri).search_runs([run.experiment_id])}
    parents = {name: found.data.tags.get("mlflow.parentRunId") for name, found in runs.items()}
    assert parents == {"selfplay": None, "round": run.id, "train router": inner.id}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_home_may_have_any_name_and_be_moved(orchestrator, trained, tmp_path, name):
    home = Home.open(tmp_path / name)
    shutil.copytree(trained, home.path)
    assert load_champion(home.mlflow_uri)[0].decide([TEXT]) == orchestrator.decide([TEXT])
    assert log_version(orchestrator, tracking_uri=home.mlflow_uri) == "2"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    moved = Home.open(tmp_path / "elsewhere" / f"{name} moved")
    moved.path.parent.mkdir()
    home.path.rename(moved.path)
    assert load_version(moved.mlflow_uri, "2").decide([TEXT]) == orchestrator.decide([TEXT])
    assert all(place.startswith(moved.artifacts.as_uri()) for place in addresses(moved.path / "mlflow.db"))
    assert not home.path.exists()


def test_a_store_is_made_in_a_folder_of_an_odd_name(tmp_path):
    home = Home.open(tmp_path / "what? 50%20#x")
    open_store(home.mlflow_uri)
    assert [path.name for path in tmp_path.iterdir()] == ["what? 50%20#x"]
    assert all(place.startswith(home.artifacts.as_uri()) for place in addresses(home.path / "mlflow.db"))
    assert (home.path / "mlflow.db").stat().st_mode & 0o077 == home.path.stat().st_mode & 0o077 == 0


def test_a_copy_never_reads_its_original(orchestrator, trained, tmp_path):
    home, copy = Home.open(tmp_path / "home"), Home.open(tmp_path / "copy")
    shutil.copytree(trained, home.path)
    open_store(home.mlflow_uri)
    shutil.copytree(home.path, copy.path)
    for file in home.artifacts.rglob("*.json"):  # whoever reads the original from here on fails
        file.write_text("not json")
    assert load_champion(copy.mlflow_uri)[0].decide([TEXT]) == orchestrator.decide([TEXT])
    shutil.rmtree(copy.artifacts)
    copy.artifacts.mkdir()
    with pytest.raises(InputError, match="files of router version 1 cannot be read"):
        load_champion(copy.mlflow_uri)


def test_a_copy_that_cannot_be_corrected_has_its_champion(orchestrator, trained, tmp_path, monkeypatch):
    """One that may only be read, for example; loading does not depend on what the database says."""
    copy = Home.open(tmp_path / "copy")
    shutil.copytree(trained, copy.path)
    before = addresses(copy.path / "mlflow.db")

    def refuse(*_: object) -> bool:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr("warehouse.mlflow_store.settle_places", refuse)
    (trained / "mlartifacts").rename(tmp_path / "away")
    try:
        assert load_champion(copy.mlflow_uri)[0].decide([TEXT]) == orchestrator.decide([TEXT])
    finally:
        (tmp_path / "away").rename(trained / "mlartifacts")
    assert addresses(copy.path / "mlflow.db") == before


def test_files_that_once_went_to_a_working_directory_are_taken_in(orchestrator, trained, tmp_path):
    """Homes made before had nested trainings in the experiment `Default`, below `./mlruns`."""
    home = Home.open(tmp_path / "home")
    shutil.copytree(trained, home.path)
    open_store(home.mlflow_uri)
    stray = tmp_path / "work" / "mlruns"
    stray.parent.mkdir()
    former = home.artifacts / "leeroo"
    former.rename(stray)
    with sqlite3.connect(home.path / "mlflow.db") as connection:
        for table, column in map(str.split, COLUMNS):
            connection.execute(
                f"update {table} set {column} = replace({column}, ?, ?)", (former.as_uri(), str(stray))
            )
    open_store(home.mlflow_uri)
    shutil.rmtree(stray)
    assert load_champion(home.mlflow_uri)[0].decide([TEXT]) == orchestrator.decide([TEXT])


def test_a_deleted_experiment_and_a_deleted_round_come_back(orchestrator, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "home")
    uri = Home.open(tmp_path / "home").mlflow_uri
    with open_run(uri, "leeroo", "round") as run:
        pass
    client = client_of(uri)
    client.delete_experiment(run.experiment_id)
    with open_run(uri, "leeroo", "another") as other:
        assert other.experiment_id == run.experiment_id
    client.delete_run(run.id)
    client.delete_experiment(run.experiment_id)
    with open_run(uri, "leeroo", "round", resume=run.id) as again:
        assert again.id == run.id
        log_version(orchestrator, tracking_uri=uri)
    with open_run(uri, "leeroo", "round", resume="0" * 32) as fresh:
        assert fresh.id not in (run.id, "0" * 32)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_address_of_a_database_leads_back_to_it(tmp_path, name):
    path = tmp_path / name / "mlflow.db"
    assert sqlite_path(sqlite_uri(path)) == path
    assert sqlite_path("http://host:5000") is None
    assert sqlite_path("postgresql+psycopg2://u:p@h/d") is None


def test_two_first_commands_at_once_make_one_store(tmp_path):
    home = Home.open(tmp_path / "home")
    program = (
        "import sys\n"
        "from warehouse.mlflow_runs import open_run\n"
        "with open_run(sys.argv[1], 'leeroo', 'first') as run: print(run.experiment_id)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, home.mlflow_uri], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=os.environ)
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert len({out.strip() for out, _ in said}) == 1
