"""What closing a gap asks experts: what that costs at most, and the pool's answers to what is judged by."""

from __future__ import annotations

from collections.abc import Callable

from experts.catalogue_file import Catalogue
from pipelines.answering.bulk import Progress, answer_with_all
from pipelines.forge.closing.judgement import judgement_questions, judgement_round
from pipelines.forge.closing.settings import CloseSettings
from pipelines.forge.gap import TargetGap
from pipelines.selfplay.round_record import Step
from warehouse.home import Home

#: Seconds that an answer of a small engine of one's own takes: a guess on the safe side.
ANSWER_S = 0.5


def expect_asking(home: Home, settings: CloseSettings) -> tuple[float, float]:
    """What asking is expected to cost at most: USD and seconds; of answers like those to the frozen set."""
    from orchestrator.versions.mlflow_registry import load_champion

    champion, _ = load_champion(home.mlflow_uri)
    costs = {name: cost for name, cost in champion.info["mean_cost_usd"].items() if cost is not None}
    judged = settings.judged_on
    base = costs.get(settings.forge.base, max(costs.values(), default=0.0))
    usd = judged * sum(costs.get(name, 0.0) for name in champion.experts) + (judged + settings.probes) * base
    answers = judged * (len(champion.experts) + 1) + settings.probes
    return usd, answers * ANSWER_S if settings.cap.minutes is not None else 0.0


def ask_pool(
    home: Home, gap: TargetGap, known: Catalogue, judged: Step, left_usd: float | None,
    connect: Callable[[], None], on_progress: Progress,
) -> Step:  # fmt: skip
    """Have the champion's pool answer what the specialist is judged by; experts without an entry cannot."""
    from orchestrator.versions.mlflow_registry import load_champion

    champion, _ = load_champion(home.mlflow_uri)
    specs = [known.get(name) for name in champion.experts if name in known.names]
    if not judged["ids"] or len(specs) < len(champion.experts):
        return {"answers": 0, "usd": 0.0, "open": 0}
    connect()
    receipts = answer_with_all(
        home.warehouse(), specs, judgement_questions(home, judged["ids"]), round=judgement_round(gap),
        run_id="", budget_usd=left_usd, on_progress=on_progress,
    )  # fmt: skip
    return {
        "answers": sum(receipt.asked + receipt.reused for receipt in receipts),
        "usd": sum(receipt.cost_usd for receipt in receipts),
        "open": sum(receipt.unasked for receipt in receipts),
    }
