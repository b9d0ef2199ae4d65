"""What came of a request that is answered in one piece."""

from __future__ import annotations

from typing import Any, NamedTuple

from serve.experts.client import WholeAnswer


class WholeReply(NamedTuple):
    """An answer, and what its caller is told of it."""

    answer: WholeAnswer
    report: dict[str, Any]
