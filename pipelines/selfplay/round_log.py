"""A round, and a run of rounds, in MLflow: settings, figures and findings."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipelines.selfplay.events import Answered
from pipelines.selfplay.panel import Panel
from pipelines.selfplay.results import RoundResult, SelfplayResult
from pipelines.selfplay.round_record import RoundRecord, Step
from pipelines.selfplay.settings import SelfplaySettings
from pipelines.tracked_run import tracked_run
from warehouse.home import Home
from warehouse.mlflow_runs import active_run

if TYPE_CHECKING:
    from pipelines.answering.domains import DomainResult


@contextlib.contextmanager
def track(
    home: Home, settings: SelfplaySettings, panel: Panel, record: RoundRecord, name: str, **more: str
) -> Iterator[str]:
    """Hold the MLflow run that a record names, or begin one and have the record name it; gives its id.

    Args:
        home: whose MLflow store.
        settings: logged when the run is new.
        panel: the experts, logged with them.
        record: of the round, or of the run of rounds.
        name: of the run.
        more: what to log beside the settings.
    """
    resume = record["run"]["id"] if "run" in record else None
    params = settings.flat() | {"experts": ", ".join(panel.names)} | more
    with tracked_run(home, name, params, resume=resume) as run_id:
        if resume != run_id:
            record.step("run", lambda: {"id": run_id})
        yield run_id


def log_round(answered: Answered, result: RoundResult, found: Step) -> None:
    """Log a round to the active run: metrics, and all of it as ``round.json``.

    Args:
        answered: what each expert did.
        result: what the round cost and bought.
        found: what its steps "questions" and "gaps" found.
    """
    domains: Sequence[DomainResult] = answered.domains or ()
    metrics = {f"answers/{r.expert}/{key}": float(getattr(r, key)) for r in answered.receipts
               for key in ("asked", "reused", "failed", "cost_usd", "wall_s")}  # fmt: skip
    metrics |= {f"accuracy/{r.expert}/{r.domain}": r.accuracy for r in domains}
    metrics |= {"cost_usd": result.cost_usd, "promoted": float(result.promoted)}
    refused = Counter(refusal["reason"] for refusal in found["questions"]["refusals"])
    metrics |= {f"refused/{reason}": float(count) for reason, count in refused.items()}
    metrics["refused/contamination"] = float(refused["contamination"])  # 0 says that it was looked for
    if result.purchase is not None:
        for name in ("before", "after", "difference"):
            estimate = getattr(result.purchase, name)
            metrics |= {f"{name}": estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        metrics["at_cost_usd"] = result.purchase.at_cost_usd
    run = active_run()
    run.log(metrics)
    run.describe(_describe(result, found))
    run.log_dict(
        {
            "receipts": [asdict(receipt) for receipt in answered.receipts],
            "domains": [asdict(domain) for domain in domains],
            "result": asdict(result),
            **found,
        },
        "round.json",
    )


def _describe(result: RoundResult, found: Step) -> str:
    """The round in Markdown."""
    lines = [
        f"{result.questions} questions, {result.answers} answers, {result.cost_usd:.6f} USD. "
        f"Router version {result.version} {result.verdict}."
    ]
    if (bought := result.purchase) is not None:
        lines += [
            f"Accuracy on {bought.questions} frozen questions at "
            f"{1000 * bought.at_cost_usd:.3g} USD per 1,000 queries:",
            f"| before | after | difference |\n| --- | --- | --- |\n"
            f"| {bought.before} | {bought.after} | {bought.difference} |",
        ]
    lines += ["Gaps: " + (", ".join(gap["name"] for gap in found["gaps"]) or "none") + "."]
    lines += [f"`leeroo report --round {result.round}` writes all of it as one page."]
    return "\n\n".join(lines)


def log_run(result: SelfplayResult) -> None:
    """Log a run of rounds to the active run."""
    run = active_run()
    run.log({"cost_usd": result.cost_usd})
    lines = [f"- round {r.round}: version {r.version} {r.verdict}" for r in result.rounds]
    run.describe("\n".join([*lines, "", f"{result.stopped} {result.cost_usd:.6f} USD in all."]))
    for step, purchase in enumerate(r.purchase for r in result.rounds):
        if purchase is not None:
            run.log({"accuracy_at_fixed_cost": purchase.after.value}, step=step)
    run.log_dict(asdict(result), "selfplay.json")
