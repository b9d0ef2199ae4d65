"""The result of a request that is answered in one piece."""

from __future__ import annotations

from typing import Any, NamedTuple

from serve.experts.client import WholeAnswer


class WholeReply(NamedTuple):
    """An answer, and the report on it to its caller."""

    answer: WholeAnswer
    report: dict[str, Any]
