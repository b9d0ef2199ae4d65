"""Whether an expert's model is there and of a kind that can be loaded, found out before any work starts."""

from __future__ import annotations

import json
from pathlib import Path

from experts.bundled import BUNDLED_PREFIX, resolve_model
from experts.catalogue import ExpertSpec
from warehouse import InputError

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")


def check_loadable(spec: ExpertSpec, *, where: str) -> None:
    """See that a vLLM expert's model can be loaded: its folder, or its configuration on the hub.

    A bundled model is converted here if it has not been yet. Weights of a hub model are not downloaded;
    its configuration (a few kB) is.

    Args:
        spec: the expert; other backends than vllm pass.
        where: the file and expert, for the message.

    Raises:
        InputError: what is missing or broken, and how to mend it.
    """
    if spec.backend != "vllm":
        return
    if spec.model.startswith(BUNDLED_PREFIX):
        resolve_model(spec)
        return
    folder = Path(spec.model).expanduser()
    if folder.exists() or spec.model.startswith(("/", ".", "~")):
        _check_folder(folder, where)
    else:
        _check_hub(spec, where)


def _check_folder(folder: Path, where: str) -> None:
    field = f"{where}, field model"
    if not folder.is_dir():
        raise InputError(
            f"the folder {folder} is not there", where=field, fix="correct the path or use a hub id"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no readable config.json ({error})",
            where=field,
            fix="point it at a folder as `save_pretrained` writes it",
        ) from error
    if not isinstance(config, dict) or not config.get("architectures"):
        raise InputError(
            f"{folder / 'config.json'} names no architecture", where=field, fix="save the model again"
        )
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise InputError(f"{folder} holds no weights", where=field, fix=f"add one of {', '.join(_WEIGHTS)}")


def _check_hub(spec: ExpertSpec, where: str) -> None:
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(spec.model, "config.json", revision=spec.revision)
    except Exception as error:  # the hub's client raises a dozen kinds; each means that it cannot be loaded
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the model {spec.model!r} cannot be loaded from the hub ({reason})",
            where=f"{where}, field model",
            fix="check the id, log in for a gated model, or give a local folder or a bundled: model",
        ) from error
