"""Experts behind APIs of other dialects, whose words the litellm package knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem
from experts.backends.kinds.openai import OPENAI
from experts.catalogue.spec import ExpertSpec
from experts.upstream.connection import Post
from experts.upstream.credentials import read_key
from experts.upstream.translated.library import PROVIDERS, is_installed, provider_of
from warehouse import CannotRunError


def _build(specs: Sequence[ExpertSpec], _cache_dir: str | Path | None) -> dict[str, Backend]:
    from experts.backends.openai_backend import OpenAIBackend

    return {spec.name: OpenAIBackend(spec, post=_post(spec, read_key(spec))) for spec in specs}


def _check_runnable(spec: ExpertSpec, hardware: Hardware) -> list[Problem]:
    problem = _find_problem(spec)
    return OPENAI.check_runnable(spec, hardware) if problem is None else [problem]


def _find_problem(spec: ExpertSpec) -> Problem | None:
    if not is_installed():
        return Problem("the litellm package is not installed", "pip install 'leeroo-orchestrator[litellm]'")
    if (provider := provider_of(spec)) in PROVIDERS:
        return None
    named = f"{provider!r} is no provider" if provider else "its model names no provider"
    fix = f"write `model: PROVIDER/MODEL`, of {', '.join(PROVIDERS)}; most others speak OpenAI's dialect:"
    return Problem(f"{named} that is asked through litellm", f"{fix} `backend: openai` with `base_url:`")


def _post(spec: ExpertSpec, key: str) -> Post:
    """Return what sends an expert's requests; the first time it imports litellm.

    Raises:
        CannotRunError: litellm is not installed, or the provider is not one that is asked through it.
    """
    if (problem := _find_problem(spec)) is not None:
        raise CannotRunError(problem.what, where=f"expert {spec.name!r}", fix=problem.fix)
    from experts.upstream.translated.post import LiteLLMPost

    return LiteLLMPost(spec, key)


LITELLM = replace(OPENAI, build=_build, check_runnable=_check_runnable, post=_post)
