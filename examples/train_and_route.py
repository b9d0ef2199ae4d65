"""Train a router on outcomes that you have, and let it route single queries and a batch with a budget.

Run: python examples/train_and_route.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from made_outcomes import make_outcomes

from experts import read_recorded_folder
from orchestrator import select_batch, train_router
from warehouse import Outcomes, Warehouse, load_outcomes

QUERIES = [
    "What is 17 + 25?",
    "Give a synonym of the word stone, in line 7.",
    "Riddle 12: who owns the train if 20 people say that 40 people lie?",
]


def read_outcomes(folder: Path) -> Outcomes:
    """Take a folder of recorded answers into a warehouse, and return its matrix of questions and experts."""
    make_outcomes(folder / "made", questions=300)
    warehouse = Warehouse(folder / "warehouse")
    questions, answers, _ = read_recorded_folder(folder / "made")
    warehouse.append("questions", questions, round="made")
    warehouse.append("answers", answers, round="made")
    return load_outcomes(warehouse)


def main() -> None:
    """Print who should answer what."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = read_outcomes(Path(folder))
    router = train_router(outcomes, embedder="wordllama", predictor="knn").orchestrator

    print("One at a time, at the preset `economy`:")
    for text, decision in zip(QUERIES, router.decide(QUERIES, preset="economy"), strict=True):
        success, cost_usd = decision.success[decision.expert], decision.cost_usd[decision.expert]
        print(f"  {decision.expert}: {success:.0%} expected, ${1000 * cost_usd:.4f} per 1,000. {text}")

    forecast = router.predict(outcomes.texts)
    dearest_usd = float(forecast.cost_usd.max(axis=1).sum())
    for share in (0.1, 0.3, 1.0):
        chosen = select_batch(forecast, budget_usd=share * dearest_usd)
        print(
            f"{len(outcomes)} queries for ${share * dearest_usd:.4f} at most: ${chosen.cost_usd:.4f} spent,"
            f" {chosen.success / len(outcomes):.1%} expected right, at most {chosen.gap:.3%} below the best"
        )


if __name__ == "__main__":
    main()
