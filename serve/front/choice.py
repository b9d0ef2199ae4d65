"""Choose the front (what takes requests): HAProxy if it runs here, else Ray Serve's Python proxy."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from serve.front.haproxy import SWITCH, find_haproxy, haproxy_settings, own_places, write_launcher
from serve.front.launcher import ALONE
from warehouse import InputError

FrontName = Literal["auto", "haproxy", "python"]
#: Ray adds a node's id and a name to the path of a socket, which may have 97 signs for HAProxy.
_LONGEST_FOLDER = 29
_FIX = "use --front auto, or fix it; `leeroo doctor` says the same"


@dataclass(frozen=True)
class Front:
    """What takes the requests; a cluster has to be started with ``environment`` for it."""

    kind: Literal["haproxy", "python"]
    why: str
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def __enter__(self) -> Self:
        """Return the front. At the end its processes are ended and its folder is removed."""
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            remove_front(self.folder)

    @property
    def told(self) -> str:
        """A description for people."""
        name = "HAProxy" if self.kind == "haproxy" else "Ray Serve's proxy in Python"
        return f"{name} ({self.why})"


def look_at_front() -> Front:
    """Return which front an endpoint would have here, and why; prepares nothing."""
    if os.environ.get(SWITCH, "1") != "1":
        return Front("python", f"{SWITCH} is {os.environ[SWITCH]!r}")
    haproxy = find_haproxy()
    if isinstance(haproxy, str):
        return Front("python", haproxy)
    return Front("haproxy", haproxy.version)


def choose_front(wish: FrontName, longest_request_s: float) -> Front:
    """Choose and prepare the front of a cluster that this process is about to start.

    Raises:
        InputError: HAProxy is required and does not run here.
    """
    if wish == "python":
        if os.environ.get(SWITCH) == "1":
            raise InputError(
                "the environment says that HAProxy is the front",
                where="--front python",
                fix=f"unset {SWITCH}",
            )
        return Front("python", "as wished", {SWITCH: "0"})
    front = look_at_front()
    if front.kind == "python":
        if wish == "haproxy":
            raise InputError(f"HAProxy cannot be the front: {front.why}", where="--front haproxy", fix=_FIX)
        return Front("python", front.why, {SWITCH: "0"})
    haproxy = find_haproxy()
    assert not isinstance(haproxy, str)
    folder = Path(tempfile.mkdtemp(prefix=f"leeroo-{os.getpid()}-", dir=_root()))
    (folder / ALONE).touch()
    settings = haproxy_settings(write_launcher(folder, haproxy.path), longest_request_s)
    return Front("haproxy", front.why, settings | own_places(folder), folder)


def front_of_cluster() -> Literal["haproxy", "python"]:
    """Return which front the Serve of the connected cluster has."""
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    # Beside HAProxy, and only there, Ray keeps a proxy in Python for when there is no replica.
    helps_out = any(actor["name"].startswith("SERVE_PROXY_ACTOR-fallback") for actor in named)
    return "haproxy" if helps_out else "python"


def find_left_fronts() -> list[Path]:
    """Return the folders of fronts whose process has ended."""
    found = []
    for folder in _root().glob("leeroo-*-*"):
        pid = folder.name.split("-")[1]
        with contextlib.suppress(OSError):
            is_ours = folder.is_dir() and not folder.is_symlink() and folder.lstat().st_uid == os.getuid()
            if is_ours and pid.isdigit() and not Path("/proc", pid).exists():
                found.append(folder)
    return found


def remove_front(folder: Path) -> None:
    """End the processes that run from a front's folder, and remove the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # of another user, or gone
            if os.fsencode(f"{folder}/") in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    wished = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    longest = len(str(wished / f"leeroo-{4_194_304}-12345678"))
    return wished if longest <= _LONGEST_FOLDER else Path("/tmp")
