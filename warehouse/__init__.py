"""What happened, kept for good: table schemas, the Parquet store, DuckDB views and the outcomes matrix."""

from warehouse.errors import (
    CannotRunError,
    InfeasibleError,
    InputError,
    LedgerAwayError,
    LeerooError,
    NobodyMayAnswerError,
    NotReadyError,
    TooFewError,
)
from warehouse.keys import first_of_each
from warehouse.outcomes import Outcomes, load_outcomes, match_names, split_names
from warehouse.schemas import (
    ANSWERS,
    DECISIONS,
    FEEDBACK,
    JUDGEMENTS,
    QUESTIONS,
    RAW_ANSWERS,
    TRAFFIC,
    conform,
    normalise_text,
    question_id,
    router_text,
    text_keys,
)
from warehouse.store import Warehouse

__all__ = [
    "ANSWERS",
    "DECISIONS",
    "FEEDBACK",
    "JUDGEMENTS",
    "QUESTIONS",
    "RAW_ANSWERS",
    "TRAFFIC",
    "CannotRunError",
    "InfeasibleError",
    "InputError",
    "LedgerAwayError",
    "LeerooError",
    "NobodyMayAnswerError",
    "NotReadyError",
    "Outcomes",
    "TooFewError",
    "Warehouse",
    "conform",
    "first_of_each",
    "load_outcomes",
    "match_names",
    "normalise_text",
    "question_id",
    "router_text",
    "split_names",
    "text_keys",
]
