"""A place or a service that fails, as a person meets it: one message, no trace, soon."""

from __future__ import annotations

import errno
import http.server
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cli import app, run_app
from pipelines.failures import explain
from tests.ports import free_port
from warehouse.errors import CannotRunError, InputError
from warehouse.home import Home
from warehouse.mlflow_store import open_store

SOON_S = 5.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each command in an environment of its own; nothing of it stays."""
    before, mask = dict(os.environ), os.umask(0o077)
    for name in list(os.environ):
        if name.startswith(("LEEROO_", "MLFLOW_", "RAY_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["LEEROO_HOME"] = str(tmp_path / "home")
    yield
    os.umask(mask)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of MLflow's database, made once."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def web() -> Iterator[int]:
    """A web server that is none of what is looked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def run(*command: str | Path) -> int:
    """Run a command in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["leeroo", *map(str, command)])
        try:
            run_app(app)
        except SystemExit as ended:
            return int(ended.code or 0)
    raise AssertionError("a command line ends by itself")


def told(capsys: pytest.CaptureFixture[str], *command: str | Path, code: int = 2) -> str:
    """The message of a command that must end in one, soon, whatever else the machine does."""
    began, busy = time.monotonic(), time.process_time()
    ended_with = run(*command)
    waited = time.monotonic() - began
    shown = capsys.readouterr()
    assert ended_with == code, shown.err
    assert waited < SOON_S + 3 * (time.process_time() - busy), shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert "Traceback" not in shown.out + shown.err
    assert "To fix it" in shown.err
    return shown.err


def test_a_database_that_another_program_has_locked(capsys, store, tmp_path) -> None:
    database = tmp_path / "home" / "mlflow.db"
    database.parent.mkdir()
    database.write_bytes(store)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin exclusive")
    try:
        message = told(capsys, "versions")
    finally:
        other.execute("rollback")
        other.close()
    assert "locked" in message
    assert str(database) in message


@pytest.mark.parametrize("damage", ["text", "cut", "pages"])
def test_a_damaged_database(capsys, store, tmp_path, damage) -> None:
    database = tmp_path / "home" / "mlflow.db"
    database.parent.mkdir()
    content = {
        "text": b"this is no database" * 100,
        "cut": store[: len(store) // 3],
        "pages": store[:100] + b"\xff" * (len(store) - 100),
    }
    database.write_bytes(content[damage])
    message = told(capsys, "versions")
    assert "damaged" in message
    assert "mlflow.db" in message
    assert database.read_bytes() == content[damage]


@pytest.mark.parametrize("command", [["versions"], ["train"], ["rollback"]])
@pytest.mark.parametrize("port", ["closed", "silent"])
def test_an_mlflow_server_that_nobody_reaches(capsys, silent, command, port) -> None:
    number = free_port() if port == "closed" else silent
    os.environ["MLFLOW_TRACKING_URI"] = f"http://me:secret@127.0.0.1:{number}"
    if command == ["train"]:
        with pytest.raises(InputError, match="does not answer"):
            open_store(os.environ["MLFLOW_TRACKING_URI"])
        return
    message = told(capsys, *command)
    assert f"http://127.0.0.1:{number}: the MLflow server does not answer" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "address", ["s3://bucket/x?endpoint_override=127.0.0.1%3A{}&scheme=http", "http://127.0.0.1:{}/tables"]
)
def test_an_object_store_that_nobody_reaches(capsys, address) -> None:
    os.environ["LEEROO_WAREHOUSE"] = address.format(free_port())
    assert "object store" in told(capsys, "sql", "select 1")


@pytest.mark.parametrize(
    "address",
    ["nonsense", "127.0.0.1", "127.0.0.1:{closed}", "ray://127.0.0.1:{closed}", "127.0.0.1:{silent}",
     "127.0.0.1:{web}", "host.invalid:6379", "a:b:c"],
)  # fmt: skip
def test_an_address_that_is_no_cluster(capsys, silent, web, address) -> None:
    from pipelines.ray_address import check_ray_address

    named = address.format(closed=free_port(), silent=silent, web=web)
    began = time.monotonic()
    with pytest.raises(InputError, match="Ray cluster") as error:
        check_ray_address(named, where="RAY_ADDRESS")
    assert time.monotonic() - began < SOON_S
    assert "RAY_ADDRESS" in str(error.value)
    assert error.value.exit_code == 2


def test_a_damaged_table_and_a_damaged_entry(capsys, tmp_path) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"prompt": "1 + 1?", "answer": "2"}\n')
    assert run("import", "questions", questions) == 0
    tables = tmp_path / "home" / "warehouse" / "questions"
    (file,) = tables.glob("round=*/*.parquet")
    (entry,) = tables.glob("_manifest/*.json")
    whole = file.read_bytes()
    capsys.readouterr()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    zeroed = whole[:4] + b"\0" * (len(whole) - 4 - footer) + whole[-footer:]
    for content in (b"", b"PAR1", whole[:-9], zeroed):
        file.write_bytes(content)
        assert "warehouse check" in told(capsys, "sql", "select prompt from questions")
    file.write_bytes(whole)
    entry.write_text("{")
    assert str(entry) in told(capsys, "sql", "select prompt from questions")


def leeroo(*command: str | Path, **options: object) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *map(str, command)],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stderr


def many_questions(path: Path) -> Path:
    path.write_text("".join(f'{{"prompt": "{os.urandom(200).hex()}?", "answer": "2"}}\n' for _ in range(400)))
    return path


def test_a_disk_that_is_full(tmp_path) -> None:
    """A limit on the size of files stands in for the disk: writing ends the same way."""
    questions = many_questions(tmp_path / "q.jsonl")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code, message = leeroo("import", "questions", questions, preexec_fn=limit)
    assert (code, message.count("\n")) == (2, 1), message
    assert "To fix it" in message
    assert not list((tmp_path / "home").rglob("*.parquet"))
    code, message = leeroo("import", "questions", questions)
    assert code == 0, message


#: Runs a command twice, the second time as a user who may write nowhere, with everything loaded before.
AS_NOBODY = """
import os, sys
from pipelines.cli import app, run_app
first, second = sys.argv[1].split("|"), sys.argv[2].split("|")
app(first, standalone_mode=False)
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.argv = ["leeroo", *second]
run_app(app)
"""


def test_a_folder_that_may_not_be_written_to() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        questions = many_questions(folder / "q.jsonl")
        home = folder / "read only"
        home.mkdir()
        home.chmod(0o555)
        questions.chmod(0o444)
        commands = [f"import|questions|{questions}|--home|{at}" for at in (folder / "other", home)]
        run = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *commands],
            capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
        assert "read only" in run.stderr
        assert "you may not" in run.stderr
        assert "To fix it" in run.stderr


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left", "/d/f"), InputError, "/d/f: the disk is full"),
        (OSError("Cannot write. Detail: [errno 28] No space left on device"), InputError, "disk is full"),
        (ValueError("I/O error: No space left on device (os error 28)"), InputError, "the disk is full"),
        (RuntimeError("IO Error: Could not write file: No space left on device"), InputError, "disk is full"),
        (RuntimeError("cannot create (os error 30)"), InputError, "may only be read"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/f"), InputError, "/d/f: you may not open it"),
        (sqlite3.OperationalError("database is locked"), InputError, "locked"),
        (sqlite3.DatabaseError("database disk image is malformed"), InputError, "damaged"),
        (sqlite3.OperationalError("no such column: created_at"), InputError, "other tables than ours"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/d/f"), InputError, "too long"),
        (ConnectionError("Could not find any running Ray instance."), InputError, "RAY_ADDRESS"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), CannotRunError, "does not answer"),
        (ModuleNotFoundError("No module named 'vllm'", name="vllm"), CannotRunError, "'vllm' is not"),
    ],
)  # fmt: skip
def test_what_libraries_raise(error: Exception, kind: type[InputError], words: str) -> None:
    for wrapped in (error, wrap(error, RuntimeError("it failed"))):
        found = explain(wrapped)
        assert found is not None
        assert type(found) is kind
        assert words in str(found)


def wrap(cause: Exception, outer: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


def test_mlflow_wraps_a_locked_database() -> None:
    from mlflow.exceptions import MlflowException

    text = "(sqlite3.OperationalError) database is locked\n[SQL: INSERT INTO runs]"
    assert "locked" in str(explain(MlflowException(text)))
    assert "MLFLOW_TRACKING_URI" in str(explain(MlflowException("no")))


def test_a_database_of_a_newer_mlflow() -> None:
    from alembic.util.exc import CommandError

    found = explain(CommandError("Can't locate revision identified by 'f00d'"))
    assert "another version of MLflow (Can't locate revision identified by 'f00d')" in str(found)


def test_what_nobody_foresaw_is_one_line_and_its_trace_is_kept(capsys, monkeypatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(SystemExit) as ended:
        run_app(fail)  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert len(shown.splitlines()) == 1
    kept = Path(shown.rsplit(" ", 1)[1].strip())
    try:
        assert "test_messages.py" in kept.read_text()
        assert kept.stat().st_mode & 0o077 == 0
    finally:
        kept.unlink()
    monkeypatch.setenv("LEEROO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run_app(fail)  # type: ignore[arg-type]


PROXIES = [
    {"http_proxy": "http://127.0.0.1:9"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "intern.example"},
    {"all_proxy": "http://127.0.0.1:9", "no_proxy": "a.example, b.example", "NO_PROXY": "c.example"},
]


@pytest.mark.parametrize("proxies", PROXIES, ids=["lower", "upper", "both"])
def test_loopback_is_never_proxied(web, proxies: dict[str, str]) -> None:
    import httpx
    import requests

    from warehouse.reachable import exempt_loopback

    os.environ.update({name: value for name, value in proxies.items() if "socks" not in value})
    exempt_loopback()
    ask: dict[str, Callable[[str], int]] = {
        "httpx": lambda url: httpx.get(url).status_code,
        "requests": lambda url: requests.get(url, timeout=5).status_code,
    }
    for get in ask.values():
        for host in ("127.0.0.1", "localhost"):
            assert get(f"http://{host}:{web}/") == 501
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("http://elsewhere.example/", timeout=5)
    for name in ("no_proxy", "NO_PROXY"):
        listed = os.environ[name].split(",")
        assert {"127.0.0.1", "localhost", "::1"} <= set(listed)
        assert {n.strip() for key in ("no_proxy", "NO_PROXY") for n in proxies.get(key, "").split(",")} - {
            ""
        } <= set(listed)


def test_errors_cross_processes_whole() -> None:
    import pickle

    error = CannotRunError("no GPU", where="expert x", fix="add one")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is CannotRunError
    assert (str(again), again.exit_code, again.fix) == (str(error), 6, "add one")


def test_a_home_is_its_owners_alone(tmp_path) -> None:
    home = Home.open(tmp_path / "mine")
    assert home.make().stat().st_mode & 0o077 == 0
