"""What an upstream's reply means: one reading, shared by rounds, bulk answers and the endpoint.

A reply (status, headers, body; whole or streamed) becomes an answer or a :class:`Failure` of a stated kind.
"""

from experts.upstream.counting import TokenCounter
from experts.upstream.failure import CONSEQUENCES, Consequence, Failure, FailureKind
from experts.upstream.reading import Answer, read_reply
from experts.upstream.request import Ask, ask_of
from experts.upstream.stream import Piece, StreamReader
from experts.upstream.usage import Usage

__all__ = [
    "CONSEQUENCES",
    "Answer",
    "Ask",
    "Consequence",
    "Failure",
    "FailureKind",
    "Piece",
    "StreamReader",
    "TokenCounter",
    "Usage",
    "ask_of",
    "read_reply",
]
