"""What a cluster of ours leaves, and what a kill leaves: found, and only ours removed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import ray_folders, ray_session
from pipelines.cli import app
from pipelines.ray_folders import (
    find_left,
    keep_logs_of,
    make_scratch,
    ray_folder,
    remove_left,
    remove_sessions_of,
)
from serve.front import choice
from warehouse import CannotRunError, InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "traces"))
    (tmp_path / "traces").mkdir()
    monkeypatch.setattr(choice, "_LONGEST_FOLDER", 1000)  # fronts may lie here; no HAProxy runs from it
    found = ray_folder()
    assert found is not None
    return found


def session(folder: Path, pid: int) -> Path:
    made = folder / f"session_2026-01-02_03-04-05_678901_{pid}"
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "worker.out").write_text("x" * 1000)
    return made


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_killed_commands_left_is_removed(folder: Path, tmp_path: Path) -> None:
    gone, alive = session(folder, ended_pid()), session(folder, os.getpid())
    others = tmp_path / "ray" / gone.name  # a cluster that somebody else started
    others.mkdir(parents=True)
    strange = folder / "notes"
    strange.mkdir()
    linked = folder / f"session_2026-01-02_03-04-05_678902_{ended_pid()}"
    linked.symlink_to(others)
    trace = tmp_path / "traces" / "leeroo-trace-abc.log"
    trace.write_text("Traceback")
    assert {found.path for found in find_left()} == {gone, trace}
    assert sum(found.size_bytes for found in find_left()) == 1_009
    shown = CliRunner().invoke(app, ["doctor", "--clean", "--home", str(tmp_path / "home")]).output
    assert str(gone) in shown
    assert "2 left" in shown
    assert not gone.exists()
    assert not trace.exists()
    assert all(path.exists() for path in (alive, others, strange))
    assert find_left() == []


def test_logs_of_a_failed_run_are_kept_until_they_are_cleaned(folder: Path) -> None:
    mine, others = session(folder, os.getpid()), session(folder, os.getppid())
    kept = keep_logs_of(os.getpid())
    assert kept is not None
    assert (kept / mine.name / "worker.out").read_text() == "x" * 1000
    assert not (kept / others.name).exists()
    assert [found.path for found in find_left()] == [kept]
    remove_left(find_left())
    assert not kept.exists()
    assert keep_logs_of(ended_pid()) is None


@pytest.mark.parametrize(
    ("error", "is_kept"), [(ValueError("bad"), True), (CannotRunError("x"), True), (InputError("x"), False)]
)
def test_a_failure_that_its_message_does_not_explain_names_the_kept_logs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception,
    is_kept: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr(ray_session, "_start_cluster", lambda: session(folder, os.getpid()))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(type(error)), ray_session.ray_session():
        raise error
    assert [found.path.name.startswith("leeroo-logs-") for found in find_left()] == [True] * is_kept
    assert all(str(found.path) in caplog.text for found in find_left())
    assert not list(folder.glob("session_*"))


def test_keys_of_a_killed_start_are_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, a process cannot remove the file by which it handed keys over; a living one keeps its own."""
    place = tmp_path / "runtime"
    place.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    program = (
        "import sys, time\n"
        "from experts import load_catalogue\n"
        "from experts.upstream.credentials import hand_over_keys\n"
        "spec = load_catalogue().get('smollm2-135m').model_copy(update={'api_key_env': 'A_KEY'})\n"
        "print(*hand_over_keys([spec]).values(), flush=True)\n"
        "time.sleep(60)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            env={**os.environ, "A_KEY": "secret"},
            text=True,
        )
        for _ in range(2)
    ]
    try:
        paths = [Path(process.stdout.readline().strip()) for process in started if process.stdout]
        assert all(path.read_text() == '{"A_KEY": "secret"}' for path in paths)
        assert find_left() == []
        started[0].kill()
        started[0].wait()
        assert [found.path for found in find_left()] == [paths[0].parent]
        shown = CliRunner().invoke(app, ["doctor", "--clean", "--home", str(tmp_path / "home")]).output
        assert str(paths[0].parent) in shown
        assert not paths[0].parent.exists()
        assert paths[1].exists()
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_session_that_a_process_still_uses_is_kept(folder: Path) -> None:
    used = session(folder, ended_pid())
    program = "import sys, time; print('on', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program, str(used)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert find_left() == []
    finally:
        process.kill()
        process.wait()
    assert [found.path for found in find_left()] == [used]


def test_at_the_end_nothing_is_left(folder: Path) -> None:
    session(folder, os.getpid())
    (folder / "session_latest").symlink_to("nowhere")
    (folder / "ray_current_cluster").write_text("127.0.0.1:1")
    remove_sessions_of(os.getpid())
    assert not folder.exists()
    assert find_left() == []


def test_a_folder_that_is_not_ours_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)  # whatever the umask
    (tmp_path / f"leeroo-ray-{os.getuid()}").symlink_to(elsewhere)
    assert ray_folder() is None
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert not [found for found in find_left() if tmp_path in found.path.parents]


def test_the_front_of_a_command_that_was_killed_is_removed(folder: Path, tmp_path: Path) -> None:
    left = tmp_path / f"leeroo-{ended_pid()}-0a1b2c3d"
    kept = [
        tmp_path / f"leeroo-{os.getpid()}-0a1b2c3d",
        tmp_path / "leeroo-ray-0a1b2c3d",
        tmp_path / "leeroo-0",
    ]
    for path in (left, *kept):
        path.mkdir(exist_ok=True)
    linked = tmp_path / f"leeroo-{ended_pid()}-4e5f6a7b"
    linked.symlink_to(kept[0])
    assert [found.path for found in find_left()] == [left]
    remove_left(find_left())
    assert not left.exists()
    assert all(path.exists() for path in (*kept, linked))


def test_what_processes_of_a_cluster_write_aside_goes_with_it(folder: Path) -> None:
    scratch = make_scratch()
    assert scratch.stat().st_mode & 0o777 == 0o700
    (scratch / "socket").touch()
    assert find_left() == []  # this process lives
    remove_sessions_of(os.getpid())
    assert not scratch.exists()
    code = "from pipelines.ray_folders import make_scratch; print(make_scratch())"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env=os.environ | {"TMPDIR": tempfile.gettempdir()},
    )  # fmt: skip
    assert [found.path for found in find_left()] == [Path(ran.stdout.strip())]
    remove_left(find_left())
    assert not Path(ran.stdout.strip()).exists()


def test_names_in_shared_memory_of_ended_processes_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = folder / "shared"
    shared.mkdir()
    monkeypatch.setattr(ray_folders, "_SHARED_MEMORY", shared)
    gone, alive = ended_pid(), os.getpid()
    for pid in (gone, alive):
        for name in (f"__KMP_REGISTERED_LIB_{pid}_0", f"sem.loky-{pid}-ab_12", f"sem.mine-{pid}"):
            (shared / name).touch()
    remove_sessions_of(alive)
    assert {path.name for path in shared.iterdir()} == {
        f"__KMP_REGISTERED_LIB_{alive}_0", f"sem.loky-{alive}-ab_12", f"sem.mine-{alive}", f"sem.mine-{gone}"
    }  # fmt: skip


@pytest.mark.e2e
def test_temporary_files_of_workers_lie_in_the_clusters_folder(ray_cluster: None) -> None:
    import ray

    place = ray.get(ray.remote(tempfile.gettempdir).remote())
    assert f"leeroo-scratch-{os.getpid()}-" in place
    assert "leeroo-scratch" not in tempfile.gettempdir()
    assert "leeroo-scratch" not in os.environ.get("TMPDIR", "")
