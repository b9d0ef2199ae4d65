"""Who says how good an answer was: users now and then, a judge for money, neither always right."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orchestrator.text.queries import Queries
from orchestrator.traffic.labels import Audit, TrafficLabels

FEEDBACK_SHARE = 0.05  # of the answers
SHADOWED_SHARE = 0.02  # of the requests, at most
JUDGE_USD = 0.0005  # a verdict
AUDITED = 200  # answers of known score that the judge sees before it is believed
#: Chance of praise for a bad answer, and for a good one.
USERS, JUDGE = (0.25, 0.85), (0.20, 0.92)
LABELLERS = ("feedback:api", "judge")


@dataclass
class Desk:
    """Collects labels; a label is drawn once, from the answer's true score."""

    rng: np.random.Generator
    row: list[int] = field(default_factory=list)
    expert: list[int] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    labeller: list[int] = field(default_factory=list)
    propensity: list[float] = field(default_factory=list)
    audits: dict[str, Audit] = field(default_factory=dict)

    def audit_judge(self, score: np.ndarray) -> None:
        """Have the judge say what it thinks of answers of which the score is known [a]."""
        bad, good = JUDGE
        right = score > 0.5
        praised = self.rng.random(len(score)) < np.where(right, good, bad)
        self.audits[LABELLERS[1]] = Audit(
            int((~right).sum()), float(praised[~right].sum()), int(right.sum()), float(praised[right].sum())
        )

    def hear(self, rows: np.ndarray, experts: np.ndarray, score: np.ndarray, who: int, p: np.ndarray) -> None:
        """Have someone label the answers of ``experts`` to the requests ``rows``, which scored ``score``."""
        bad, good = (USERS, JUDGE)[who]
        praised = self.rng.random(len(rows)) < np.where(score > 0.5, good, bad)
        self.row += rows.tolist()
        self.expert += experts.tolist()
        self.label += praised.astype(float).tolist()
        self.labeller += [who] * len(rows)
        self.propensity += p.tolist()

    def labels(
        self, queries: Queries, experts: tuple[str, ...], served: int, since: int = 0
    ) -> TrafficLabels:
        """All labels but the first ``since``, at a time when so many requests have been served."""
        row = np.array(self.row[since:], np.intp)
        requests = np.unique(np.append(row, served - 1))  # the last one is the present, labelled or not
        return TrafficLabels(
            queries=queries.take(requests),
            served_at=requests.astype(np.float64),
            experts=experts,
            row=np.searchsorted(requests, row),
            expert=np.array(self.expert[since:], np.intp),
            label=np.array(self.label[since:], np.float64),
            labeller=np.array(self.labeller[since:], np.intp),
            labellers=LABELLERS,
            propensity=np.array(self.propensity[since:], np.float64),
            audits=self.audits,
        )
