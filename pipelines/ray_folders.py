"""Where our Ray clusters keep logs and sockets: a folder of our own, so that what a kill leaves is known."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from experts.upstream.credentials import KEY_FOLDERS, key_folders_place

#: Seconds that the processes of a cluster may take to end after their driver said so.
_ENDING_S = 5
_SESSION = re.compile(r"session_[\d_-]+_(\d+)")
_KEYS = re.compile(rf"{KEY_FOLDERS}(\d+)-\w+")
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_NAME = re.compile(r"__KMP_REGISTERED_LIB_(\d+)_\d+|sem\.loky-(\d+)-\w+")
_LOGS_PREFIX = "leeroo-logs-"
_SCRATCH_PREFIX = "leeroo-scratch-"
_SCRATCH = re.compile(rf"{_SCRATCH_PREFIX}(\d+)-\w+")


@dataclass(frozen=True)
class LeftFolder:
    """A folder or file that a command which was killed left behind."""

    path: Path
    size_bytes: int


def ray_folder() -> Path | None:
    """The folder for the clusters that we start, readable by its owner alone; None where Ray's own must do.

    Paths of sockets have to be short, so it does not lie in the home.
    """
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return None  # somebody else's, or a link
        folder.chmod(0o700)
    except OSError:
        return None
    return folder


def make_scratch() -> Path:
    """Make the temporary folder for all processes of a cluster that this process starts.

    Engines and compilers leave sockets and headers in their temporary folder, most of all where they are
    ended from outside. In a folder of the cluster's own that goes with the cluster.
    """
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-"))


def keep_logs_of(pid: int) -> Path | None:
    """Copy the logs of the clusters that a process started; return the folder, None where there are none.

    The copy is what is left to look at after a failure. `leeroo doctor` lists it, and can remove it.
    """
    logs = [session / "logs" for session in _sessions() if _pid_of(session) == pid]
    logs = [folder for folder in logs if folder.is_dir()]
    if not logs:
        return None
    try:
        kept = Path(tempfile.mkdtemp(prefix=_LOGS_PREFIX))
        for folder in logs:
            ignore = shutil.ignore_patterns("*.sock")
            shutil.copytree(folder, kept / folder.parent.name, symlinks=True, ignore=ignore)
    except (OSError, shutil.Error):  # a full disk: the failure itself is told all the same
        return None
    return kept


def remove_sessions_of(pid: int) -> None:
    """Remove the folders of the clusters that a process started, once they have ended."""
    for session in [*_sessions(), *_named_by_process(Path(tempfile.gettempdir()), _SCRATCH)]:
        if _pid_of(session) != pid:
            continue
        for _ in range(_ENDING_S):
            if not _in_use(session):
                shutil.rmtree(session, ignore_errors=True)
                break
            time.sleep(1)
    _remove_shared_names()
    _remove_empty()


def _remove_shared_names() -> None:
    """Remove names in shared memory that OpenMP and joblib give a process, and leave where it is killed."""
    for path in _SHARED_MEMORY.glob("*"):
        found = _SHARED_NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if found and not _lives(int(found[1] or found[2])) and path.lstat().st_uid == os.getuid():
                path.unlink()


def find_left() -> list[LeftFolder]:
    """What failed and killed commands left: folders of processes that are gone, logs, traces of errors."""
    from serve.front.choice import find_left_fronts

    left = [
        folder
        for folder in [
            *_sessions(),
            *_named_by_process(key_folders_place(), _KEYS),
            *_named_by_process(Path(tempfile.gettempdir()), _SCRATCH),
        ]
        if not _lives(_pid_of(folder)) and not _in_use(folder)
    ]  # fmt: skip
    temporary = Path(tempfile.gettempdir())
    traces = [*temporary.glob("leeroo-trace-*.log"), *temporary.glob(f"{_LOGS_PREFIX}*")]
    left += find_left_fronts()
    left += [trace for trace in traces if trace.lstat().st_uid == os.getuid()]
    return [LeftFolder(path, _size(path)) for path in left]


def remove_left(left: list[LeftFolder]) -> None:
    """Remove what :func:`find_left` found."""
    from serve.front.choice import find_left_fronts, remove_front

    fronts = find_left_fronts()
    for found in left:
        if found.path in fronts:
            remove_front(found.path)
        elif found.path.is_dir():
            shutil.rmtree(found.path, ignore_errors=True)
        else:
            found.path.unlink(missing_ok=True)
    _remove_empty()


def _remove_empty() -> None:
    """Take away what Ray keeps beside its sessions once there are none."""
    folder = _folder()
    if _sessions() or not folder.is_dir() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    for name in ("session_latest", "ray_current_cluster"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / f"leeroo-ray-{os.getuid()}"


def _sessions() -> list[Path]:
    folder = _folder()
    if not folder.is_dir() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return []
    return sorted(
        path for path in folder.iterdir() if _SESSION.fullmatch(path.name) and not path.is_symlink()
    )


def _named_by_process(place: Path, name: re.Pattern[str]) -> list[Path]:
    """Folders of this user whose name says which process made them."""
    return sorted(
        path
        for path in place.glob("leeroo-*")
        if name.fullmatch(path.name)
        and path.is_dir()
        and not path.is_symlink()
        and path.stat().st_uid == os.getuid()
    )


def _pid_of(folder: Path) -> int:
    matches = (name.fullmatch(folder.name) for name in (_SESSION, _KEYS, _SCRATCH))
    found = next(filter(None, matches), None)
    return int(found.group(1)) if found else 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _in_use(folder: Path) -> bool:
    """Tell whether a process was started with this folder: Ray's own outlive their driver by seconds."""
    wanted = os.fsencode(folder.name)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if wanted in told and int(process.name) != os.getpid():
            return True
    return False


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
