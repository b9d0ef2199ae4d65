"""What came of a request that is answered in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve.experts.client import WholeAnswer


@dataclass(frozen=True)
class WholeReply:
    """An answer, and what its caller is told of it."""

    answer: WholeAnswer
    report: dict[str, Any]
