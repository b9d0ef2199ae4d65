"""Made-up outcomes of three experts, in the layout that `leeroo import recorded` reads.

``calculator`` is good at sums and ``linguist`` at words, both cheap; ``generalist`` is good at everything,
costs twenty times as much, and is the only one that solves riddles. A router that reads the question can tell
when it is needed.

Run: python examples/made_outcomes.py recorded/made
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

EXPERTS = {"calculator": 0.5, "linguist": 0.5, "generalist": 10.0}  # USD per million tokens
SUCCESS = {  # by domain, in the order of the experts
    "sums": (0.95, 0.20, 0.93),
    "words": (0.25, 0.94, 0.93),
    "riddles": (0.15, 0.20, 0.85),
}
NOUNS = ("river", "garden", "window", "bread", "winter", "school", "cloud", "stone", "train", "letter")
ASKED = ("a synonym of", "the plural of", "the opposite of", "a rhyme with", "the first letter of")


def make_outcomes(folder: Path, *, questions: int = 600, seed: int = 0) -> None:
    """Write questions.parquet, answers.parquet and experts.csv into a folder."""
    rng = np.random.default_rng(seed)
    asked, answered = [], []
    for i in range(questions):
        domain = list(SUCCESS)[i % 3]
        a, b = rng.integers(10, 1000, 2)
        noun, kind = NOUNS[rng.integers(len(NOUNS))], ASKED[rng.integers(len(ASKED))]
        text = {
            "sums": f"What is {a} + {b}?",
            "words": f"Give {kind} the word {noun}, in line {i}.",
            "riddles": f"Riddle {i}: who owns the {noun} if {a} people say that {b} people lie?",
        }[domain]
        row = {"question_id": f"q{i}", "domain": domain, "subject": domain, "question": text}
        asked.append({**row, "choices": ["the right answer", "a wrong one"], "answer": "A"})
        right = rng.random(len(EXPERTS)) < SUCCESS[domain]
        answered += [
            {"question_id": f"q{i}", "expert": expert, "correct": bool(correct)}
            for expert, correct in zip(EXPERTS, right, strict=True)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(asked).to_parquet(folder / "questions.parquet")
    pd.DataFrame(answered).to_parquet(folder / "answers.parquet")
    prices = [
        {"expert": name, "usd_per_mtok_in": usd, "usd_per_mtok_out": usd} for name, usd in EXPERTS.items()
    ]
    pd.DataFrame(prices).to_csv(folder / "experts.csv", index=False)


if __name__ == "__main__":
    make_outcomes(Path(sys.argv[1] if len(sys.argv) > 1 else "recorded/made"))
