"""Regions of alike questions, named by their domains and most typical words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse import Outcomes
from warehouse.traffic.derived import SOURCE

QUESTIONS_A_REGION = 150
DIMENSIONS = 48
LABEL_WEIGHT = 0.8  # pull of a shared domain or subject, beside the unit-length embedding
MIXED = "(mixed)"  # in place of words, where none is typical
COMMON_WORDS = frozenset(
    re.findall(
        r"\w+",
        """the and for that with this from are was were which what who whom whose how when where why has
        have had his her its their they them she will would can could should may might must not
        but all any some one two than then into onto over under between about after before
        during following most more least less only each other such these those been being does
        did you your our out also both either neither because if there here just very true
        false none above statement statements given find except question answer use used using
        many much same different likely best correct incorrect""",
    )
)


@dataclass(frozen=True)
class Regions:
    """Clusters of questions, under names for people."""

    label: NDArray[np.int64]  # [n]
    names: tuple[str, ...]  # by region, each its own: domain, subject, most typical words
    domains: tuple[tuple[str, ...], ...]  # by region: the domains that make up most of it
    words: tuple[tuple[str, ...], ...]  # by region: most typical words
    typical: tuple[NDArray[np.int64], ...]  # by region: rows nearest to its centre

    @property
    def count(self) -> int:
        """Number of regions."""
        return len(self.words)


def find_regions(
    outcomes: Outcomes, embeddings: NDArray[np.floating], *, count: int | None = None, seed: int = 0
) -> Regions:
    """Cluster questions by embedding, domain and subject (k-means), and name the clusters.

    A word is typical when it is far more frequent inside a region than outside: the signed
    log-likelihood ratio (Dunning 1993) of the number of questions that hold it.

    Args:
        outcomes: the questions.
        embeddings: [n, d] unit rows.
        count: how many regions; about one for every 150 questions, 4 to 60, by default.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    n = len(outcomes)
    k = min(count or int(np.clip(n // QUESTIONS_A_REGION, 4, 60)), n)
    parts = [np.asarray(embeddings, dtype=np.float32)]
    for labels in (outcomes.domains, outcomes.subjects):
        names, codes = np.unique(labels, return_inverse=True)
        if len(names) > 1:
            parts.append(np.float32(LABEL_WEIGHT) * np.eye(len(names), dtype=np.float32)[codes])
    features = np.hstack(parts)
    if features.shape[1] > DIMENSIONS and n > DIMENSIONS:  # most of the spread at a fraction of the time
        features = PCA(DIMENSIONS, svd_solver="randomized", random_state=0).fit_transform(features)
    fitted = KMeans(n_clusters=k, n_init=4, random_state=seed).fit(features)
    label = fitted.labels_.astype(np.int64)
    distance = np.linalg.norm(features - fitted.cluster_centers_[label], axis=1)
    domains, typical = [], []
    for region in range(k):
        rows = np.flatnonzero(label == region)
        typical.append(rows[np.argsort(distance[rows])[:3]])
        shares = Counter(outcomes.domains[rows].tolist()).most_common()
        kept = [name for name, times in shares if times >= 0.25 * len(rows)] or [shares[0][0]]
        domains.append(tuple(kept))
    words = _typical_words(outcomes.texts, label, k)
    called = _name_regions(outcomes, label, domains, words, typical)
    return Regions(label, called, tuple(domains), words, tuple(typical))


def _name_regions(
    outcomes: Outcomes,
    label: NDArray[np.int64],
    domains: Sequence[tuple[str, ...]],
    words: Sequence[tuple[str, ...]],
    typical: Sequence[NDArray[np.int64]],
) -> tuple[str, ...]:
    """What people call the regions: no two alike, and each says something of its questions."""
    names: list[str] = []
    for region, own in enumerate(words):
        here = outcomes.subjects[label == region]
        subject, times = Counter(here.tolist()).most_common(1)[0]
        places = [domains[region][0]]
        if times >= 0.5 * len(here) and subject.casefold() != places[0].casefold():
            places.append(subject)
        about = " / ".join(place for place in places if place)
        typical_words = [word for word in own if word != MIXED]
        # What people asked is not quoted: names go into reports that nobody can take it out of again.
        shown = [row for row in typical[region] if outcomes.sources[row] != SOURCE]
        example = " ".join(outcomes.texts[shown[0]].split()) if shown else ""
        counts = range(min(3, len(typical_words)), len(typical_words) + 1)
        said = [", ".join(typical_words[:count]) for count in counts]
        said += [f"like “{example[:length]}…”" for length in (40, 80) if example]
        choices = [": ".join(part for part in (about, told) if part) for told in said if told]
        choices.append(f"{choices[-1] if choices else about} ({region})")  # equal questions in two regions
        names.append(next(name for name in choices if name not in names))
    return tuple(names)


def _typical_words(texts: tuple[str, ...], label: NDArray[np.int64], k: int) -> tuple[tuple[str, ...], ...]:
    inside = [Counter[str]() for _ in range(k)]
    for text, region in zip(texts, label, strict=True):
        inside[region].update(set(re.findall(r"[^\W\d_]{3,}", text.casefold())) - COMMON_WORDS)
    total = sum(inside, Counter[str]())
    sizes = np.bincount(label, minlength=k)
    n = len(texts)
    names = []
    for region in range(k):
        size = int(sizes[region])
        scored = []
        for word, here in inside[region].items():
            there = total[word] - here
            if here < 3 or here / size <= there / max(n - size, 1):
                continue
            scored.append((_likelihood_ratio(here, size, there, n - size), word))
        names.append(tuple(word for _, word in sorted(scored, key=lambda s: (-s[0], s[1]))[:8]) or (MIXED,))
    return tuple(names)


def _likelihood_ratio(here: int, size: int, there: int, rest: int) -> float:
    expected = (here + there) / (size + rest)
    ratio = here * np.log(here / (size * expected))
    if there:
        ratio += there * np.log(there / (rest * expected))
    return float(2 * ratio)
