"""Which ways of running experts there are: the one table that an expert's ``backend`` is looked up in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem
from experts.backends.kind import BackendKind
from experts.backends.kinds.litellm import LITELLM
from experts.backends.kinds.openai import OPENAI
from experts.backends.kinds.recorded import RECORDED
from experts.backends.kinds.vllm import VLLM
from experts.catalogue.spec import ExpertSpec
from experts.upstream.client import UpstreamClient
from experts.upstream.credentials import read_key
from experts.upstream.pool import ConnectionPool

BACKENDS: dict[str, BackendKind] = {"vllm": VLLM, "openai": OPENAI, "litellm": LITELLM, "recorded": RECORDED}


def kind_of(spec: ExpertSpec) -> BackendKind:
    """Return how an expert is run."""
    return BACKENDS[spec.backend]


def is_known(spec: ExpertSpec) -> bool:
    """Tell whether there is a way to run an expert of this ``backend``."""
    return spec.backend in BACKENDS


def build_backend(spec: ExpertSpec, *, cache_dir: str | Path | None = None) -> Backend:
    """Build the backend of an expert; for vLLM this loads the model.

    Raises InputError when the expert cannot run here (package, key or recording missing).
    """
    return build_backends([spec], cache_dir=cache_dir)[spec.name]


def build_backends(specs: Sequence[ExpertSpec], *, cache_dir: str | Path | None = None) -> dict[str, Backend]:
    """Build the backends of experts that live in one process, by name.

    vLLM experts among them share one engine: they must have the same
    :func:`experts.backends.vllm_engine.shared_engine_key`, as adapters of one base model do. Raises as
    :func:`build_backend`.
    """
    groups: dict[str, list[ExpertSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.backend, []).append(spec)
    built: dict[str, Backend] = {}
    for backend, group in groups.items():
        built |= BACKENDS[backend].build(group, cache_dir)
    return built


def connect(spec: ExpertSpec, *, pool: ConnectionPool | None = None) -> UpstreamClient:
    """Return the client of an expert's API, in whichever dialect that is asked.

    Raises:
        CannotRunError: the key, or the package that knows the dialect, is missing.
    """
    key, post = read_key(spec), kind_of(spec).post
    return UpstreamClient(spec, key, pool=pool, post=None if post is None else post(spec, key))


def check_runnable(spec: ExpertSpec, hardware: Hardware) -> list[Problem]:
    """Return what keeps ``spec`` from running on ``hardware``; empty when nothing does."""
    return kind_of(spec).check_runnable(spec, hardware)


def check_loadable(spec: ExpertSpec, *, where: str, convert: bool = True) -> None:
    """See that an expert's model and adapter can be loaded, where any of them lies here or on the hub.

    Args:
        spec: the expert.
        where: the file and expert, for the message.
        convert: convert a bundled model here if it has not been yet; else it is taken to be convertible.

    Raises:
        InputError: what is missing or broken, and how to fix it.
    """
    kind_of(spec).check_loadable(spec, where, convert)


def may_bill_failures(spec: ExpertSpec) -> bool:
    """Tell whether an attempt that failed may be billed: an API may, unless the catalogue says it does not.

    What our own engines compute in vain is on no bill.
    """
    return is_api(spec) and spec.bills_failures != "no"


def count_tokens(spec: ExpertSpec, texts: Iterable[str]) -> int | None:
    """Return the tokens of texts by the expert's own tokenizer; None where that does not lie here."""
    return kind_of(spec).count_tokens(spec, texts)


def is_api(spec: ExpertSpec) -> bool:
    """Tell whether an expert stands behind an API, whose words and bills are another's."""
    return kind_of(spec).is_paid


def speaks_openai(spec: ExpertSpec) -> bool:
    """Tell whether an expert's API is asked in OpenAI's dialect, not through a translation."""
    return kind_of(spec).post is None
