"""The figures that the ledger shows about settled requests."""

from __future__ import annotations

from dataclasses import dataclass, fields

from serve.ledger.messages import Period


@dataclass
class Tally:
    """Sums over requests.

    Attributes:
        answers: answered, by this expert where it is an expert's; of a shadow, decided as the champion did.
        failed: asked of experts in vain.
        cost_usd: of those answered, with all their attempts.
        compared: routed and recorded, with a forecast for this expert where it is an expert's.
        success: forecast for this expert, over those compared.
        forecast_usd: the same of its cost.
        chosen_success: forecast for the expert that was chosen, over the same.
        chosen_usd: the same of its cost.
        paid_usd: what the same requests cost.
    """

    answers: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    compared: int = 0
    success: float = 0.0
    forecast_usd: float = 0.0
    chosen_success: float = 0.0
    chosen_usd: float = 0.0
    paid_usd: float = 0.0

    def add(self, other: Tally) -> None:
        """Take another one's sums in."""
        self.answers += other.answers
        self.failed += other.failed
        self.cost_usd += other.cost_usd
        self.compared += other.compared
        self.success += other.success
        self.forecast_usd += other.forecast_usd
        self.chosen_success += other.chosen_success
        self.chosen_usd += other.chosen_usd
        self.paid_usd += other.paid_usd


COLUMNS = tuple(field.name for field in fields(Tally))


@dataclass(frozen=True)
class Forecast:
    """The forecast for an expert on one request."""

    expert: str
    success: float
    cost_usd: float


@dataclass(frozen=True)
class RecentRequest:
    """An answered request; the decision on it is known if the request was recorded."""

    request_id: str
    key_id: str | None
    at: float  # seconds since 1970
    expert: str
    cost_usd: float
    latency_s: float
    recorded: bool = False
    why: str = ""
    role: str | None = None  # champion, challenger, or named
    version: str | None = None
    explored: bool = False
    form: str | None = None
    chosen: str | None = None
    tried: tuple[tuple[str, str], ...] = ()  # expert, and why its answer was none
    forecasts: tuple[Forecast, ...] = ()  # the likeliest right first


@dataclass(frozen=True)
class Savings:
    """Requests for which the best single expert was a candidate: what they cost, and would have cost."""

    best_expert: str
    requests: int
    best_usd: float  # forecast of the best expert's answers
    best_success: float  # its mean forecast
    paid_usd: float
    chosen_usd: float  # forecast of the chosen experts' answers
    chosen_success: float  # their mean forecast

    @property
    def saved_usd(self) -> float:
        """What the best expert would have cost by estimate, less what was paid; may be below 0."""
        return estimate_saved_usd(self.best_usd, self.chosen_usd, self.paid_usd)


def estimate_saved_usd(best_usd: float, chosen_usd: float, paid_usd: float) -> float:
    """Return what asking the best expert would have cost more than was paid.

    Bills may differ from all forecasts alike, as where people want longer answers than the questions that the
    router learned from. So the best expert's forecast is scaled as the bills were to the chosen experts'
    forecasts: where the best expert was chosen every time, nothing was saved.

    Args:
        best_usd: forecast of the best expert's answers.
        chosen_usd: forecast of the chosen experts' answers. If it is 0, nothing is scaled.
        paid_usd: what the chosen experts' answers cost.
    """
    return paid_usd * (best_usd / chosen_usd) - paid_usd if chosen_usd > 0 else best_usd - paid_usd


@dataclass(frozen=True)
class KeyBudget:
    """A key's spending in its present period, and its budget."""

    key_id: str
    name: str
    budget_usd: float | None
    period: Period
    spent_usd: float
    reserved_usd: float
    requests: int


@dataclass(frozen=True)
class Latency:
    """The latencies of an expert's last answers."""

    answers: int
    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class LedgerOverview:
    """The ledger's figures on all requests, or on those of one key."""

    sees_all: bool
    counted_since: float  # recent requests and latencies, seconds since 1970
    first_day: str
    everything: Tally
    experts: dict[str, Tally]
    versions: dict[str, Tally]
    shadows: dict[str, Tally]
    savings: Savings | None
    days: tuple[tuple[str, Tally, Tally], ...]  # day, all requests, and the best single expert's part of them
    latency: Latency | None  # of the last answers, whoever gave them
    latencies: dict[str, Latency]  # by expert
    recent: tuple[RecentRequest, ...]  # the last first
    keys: tuple[KeyBudget, ...]  # the fullest budgets first
    more_keys: int
    key_names: dict[str, str]  # of those in ``recent``
