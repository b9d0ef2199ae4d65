"""The hidden state of a small language model where it would begin to answer, as an embedding.

Before its first token a model has read the whole query: what a middle layer holds then is an embedding, by
a model that a pool may host anyway.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.text.embedder import Vectors, WeightsIdentity
from orchestrator.text.tokens import tokenise, unit_rows
from orchestrator.text.weights import identify_weights
from warehouse import CannotRunError, InputError

PREFIX = "lm:"
MAX_TOKENS = 96  # the last ones: of a long text the question and its choices stand at the end
CUE = "\nAnswer:"  # read after the text: the state of its last token is that of one who is about to answer
DEPTH = 0.6  # share of the layers that are run
_SAVE = "save a language model of text and its tokenizer there with `save_pretrained`"


class LmEmbedder:
    """The last token's hidden state after three fifths of a model's layers.

    The model reads a text's last 96 tokens and a cue to answer. Each text is read on its own, in float32 on
    one thread: its vector does not depend on what comes with it.
    """

    version = 1

    def __init__(self, model: str) -> None:
        """Find a model: nothing is downloaded, no code of a folder is run.

        Args:
            model: a bundled model's name without its prefix, or a folder with ``config.json``,
                ``tokenizer.json`` and weights in safetensors.

        Raises:
            InputError: there is neither such a bundled model nor such a folder.
            CannotRunError: a file, or the package that carries it, is missing or unfit.
        """
        self.name = PREFIX + model
        self._folder = _find_folder(model)
        config, tokenizer = self._folder / "config.json", self._folder / "tokenizer.json"
        weights = sorted(self._folder.glob("*.safetensors")) or [self._folder / "model.safetensors"]
        self._files = [config, tokenizer, *weights]
        for file in self._files:
            if not file.is_file():
                raise CannotRunError("a language model's file is missing", where=str(file), fix=_SAVE)
        try:
            sizes = json.loads(config.read_text(encoding="utf-8"))
            self.dim, layers = int(sizes["hidden_size"]), int(sizes["num_hidden_layers"])
        except (KeyError, TypeError, ValueError) as error:
            raise CannotRunError("no model of text is described", where=str(config), fix=_SAVE) from error
        self.widths = (self.dim,)
        self._layers = max(round(DEPTH * layers), 1)

    @cached_property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """Configuration, tokenizer and weights; the folder's place does not matter."""
        model = self._folder.name
        return (identify_weights(f"lm-{model}", self.version, model, self._files),)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS, direction="left")
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModel.from_pretrained(self._folder, dtype=torch.float32, **where)
        model.layers = model.layers[: self._layers]
        model.norm = torch.nn.Identity()  # it fits the last layer's states alone
        return model.eval()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, d]; an empty text is the zero vector."""
        try:
            import torch
        except ImportError as error:
            fix = "pip install 'leeroo-orchestrator[cpu]'"
            raise CannotRunError(f"{self.name} needs torch and transformers", fix=fix) from error
        out = np.zeros((len(texts), self.dim), np.float32)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # with several the last bits differ
        try:
            with torch.inference_mode():
                cue = self._tokenizer.encode(CUE, add_special_tokens=False).ids
                for row, ids in enumerate(tokenise(self._tokenizer, texts)):
                    if texts[row]:
                        read = self._model(input_ids=torch.tensor([ids + cue]), use_cache=False)
                        out[row] = read.last_hidden_state[0, -1].numpy()
        finally:
            torch.set_num_threads(threads)
        return unit_rows(out)


def _find_folder(model: str) -> Path:
    from experts.backends.bundled import resolve_model
    from experts.catalogue.bundled_models import BUNDLED_MODELS, BUNDLED_PREFIX

    name = BUNDLED_PREFIX + model
    folder = Path(resolve_model(name) if name in BUNDLED_MODELS else model).expanduser()
    if not model or not folder.is_dir():
        bundled = ", ".join(known.removeprefix(BUNDLED_PREFIX) for known in BUNDLED_MODELS)
        raise InputError(
            f"no language model is called {model!r}", fix=f"use one of {bundled}, or a model's folder"
        )
    return folder
