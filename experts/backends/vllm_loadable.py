"""Whether an expert's model and adapter are there and can be loaded, found out before any work starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experts.backends.bundled import resolve_model
from experts.catalogue.bundled_models import BUNDLED_PREFIX
from experts.catalogue.spec import ExpertSpec
from warehouse import CannotRunError, InputError

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")
#: The file names that vLLM looks for in an adapter's folder.
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")


def check_model(spec: ExpertSpec, where: str, convert: bool) -> None:
    """See that a vLLM expert's model and adapter can be loaded: their folders, or what the hub has of them.

    Weights on the hub are not downloaded; the configurations (a few kB) are.

    Args:
        spec: the expert.
        where: the file and expert, for the message.
        convert: convert a bundled model here if it has not been yet; else it is taken to be convertible.

    Raises:
        InputError, CannotRunError: what is missing or broken, and how to fix it.
    """
    if spec.model.startswith(BUNDLED_PREFIX):
        if convert:
            resolve_model(spec)
    elif folder := _local_folder(spec.model):
        _check_model_folder(folder, f"{where}, field model")
    elif reason := _missing_on_hub(spec.model, "config.json", spec.revision):
        raise CannotRunError(
            f"the model {spec.model!r} cannot be loaded from the hub ({reason})",
            where=f"{where}, field model",
            fix="check the id, log in for a gated model, or give a local folder or a bundled: model",
        )
    if spec.lora:
        _check_adapter(spec.lora, f"{where}, field lora")


def _local_folder(name: str) -> Path | None:
    """The folder that a model or an adapter names; None where it can only be a hub's id."""
    folder = Path(name).expanduser()
    return folder if folder.exists() or name.startswith(("/", ".", "~")) else None


def _check_model_folder(folder: Path, field: str) -> None:
    config = _read_settings(folder, "config.json", field)
    if not config.get("architectures"):
        raise InputError(
            f"{folder / 'config.json'} names no architecture", where=field, fix="save the model again"
        )
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise InputError(f"{folder} holds no weights", where=field, fix=f"add one of {', '.join(_WEIGHTS)}")


def _check_adapter(adapter: str, field: str) -> None:
    if folder := _local_folder(adapter):
        _read_settings(folder, "adapter_config.json", field)
        if not any((folder / name).is_file() for name in _ADAPTER_WEIGHTS):
            fix = f"add one of {', '.join(_ADAPTER_WEIGHTS)}"
            raise InputError(f"{folder} holds no adapter's weights", where=field, fix=fix)
    elif reason := _missing_on_hub(adapter, "adapter_config.json", None):
        raise CannotRunError(
            f"the adapter {adapter!r} is no folder here and cannot be loaded from the hub ({reason})",
            where=field,
            fix="give the folder that the adapter was saved to, or its id on the hub",
        )


def _read_settings(folder: Path, name: str, field: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(
            f"the folder {folder} is not there", where=field, fix="correct the path or use a hub id"
        )
    try:
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no readable {name} ({error})",
            where=field,
            fix="point it at a folder as `save_pretrained` writes it",
        ) from error
    return settings if isinstance(settings, dict) else {}


def _missing_on_hub(repo: str, name: str, revision: str | None) -> str | None:
    """Why a file cannot be had from the hub or its cache; None when it is here now."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repo, name, revision=revision)
    except Exception as error:  # the hub's client raises a dozen kinds; each means that it cannot be loaded
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None
