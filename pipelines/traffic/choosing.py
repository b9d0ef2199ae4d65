"""Which of the recorded requests can be asked again, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.embedder import Embedder, weights_key
from pipelines.learning.recorded_requests import RecordedRequests, embeddings_of
from pipelines.traffic.as_questions import RecordedText, Texts
from pipelines.traffic.sampling import MOST_CONSIDERED, UNASKED_FORMS, Sample, choose_sample
from pipelines.traffic.settings import ShadowSettings

if TYPE_CHECKING:
    from experts import ExpertSpec


def choose_among(
    requests: RecordedRequests,
    texts: Texts,
    seen: NDArray[np.float32],
    embedder: Embedder,
    specs: Sequence[ExpertSpec],
    judge: ExpertSpec | None,
    shadow: ShadowSettings,
    budget_usd: float,
) -> Sample:
    """Choose among requests whose texts are there and that were not asked again before, newest first.

    Of requests that say the same the newest stands for all.

    Args:
        requests: in the order of time.
        texts: their words, by request id.
        seen: [k, d] embeddings of the questions that the router was trained on; may be empty.
        embedder: of the router in charge.
        specs: who may be asked.
        judge: who grades; None: nobody is paid for it.
        shadow: how many, and what keys count.
        budget_usd: for answers and verdicts.
    """
    names = zip(requests.column("request_id"), requests.column("form"), strict=True)
    can_be_asked = np.array([_can_be_asked(texts.get(str(name)), form) for name, form in names], bool)
    is_open = can_be_asked & ~requests.is_learned
    fresh = requests.take(np.flatnonzero(is_open)[-MOST_CONSIDERED:])
    has, embedding = embeddings_of(fresh, weights_key(embedder.weights))
    is_known = bool(has.any())
    if not is_known:  # all were read by another one, whose vectors can be compared with each other alone
        has, embedding = embeddings_of(fresh)
    if not has.any():
        return Sample((), {}, 0.0, 0.0)
    fresh = fresh.take(has)
    says = np.array([str(text or request) for text, request in
                     zip(fresh.column("text_hash"), fresh.column("request_id"), strict=True)])  # fmt: skip
    _, last = np.unique(says[::-1], return_index=True)
    kept = np.sort(len(fresh) - 1 - last)
    fresh, embedding = fresh.take(kept), embedding[kept]
    paid = fresh.figures("multiplier")
    multiplier = float(np.median(paid[np.isfinite(paid)])) if np.isfinite(paid).any() else 0.0
    if not is_known or not len(seen):
        seen = np.empty((0, embedding.shape[1]), np.float32)
    return choose_sample(
        fresh, embedding, seen, specs, judge, budget_usd=budget_usd, key_weights=shadow.key_weights,
        most_requests=shadow.requests, multiplier=multiplier, verdicts=2 if shadow.judge_by == "pairs" else 1,
    )  # fmt: skip


def _can_be_asked(text: RecordedText | None, form: object) -> bool:
    """Are the words there, and do they say what is wanted? JSON is wanted by a field, tools by others."""
    if text is None or form in UNASKED_FORMS:
        return False
    return form != "json" or text.response_format is not None
