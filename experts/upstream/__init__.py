"""What an upstream's reply means: one reading, shared by rounds, bulk answers and the endpoint.

A reply (status, headers, body; whole or streamed) becomes an answer or a :class:`Failure` of a stated kind.
"""

from experts.upstream.client import UpstreamClient
from experts.upstream.counting import TokenCounter
from experts.upstream.credentials import hand_over_keys, read_key, scrub
from experts.upstream.dialect import Dialect, word_request
from experts.upstream.failure import CONSEQUENCES, Consequence, Failure, FailureKind
from experts.upstream.open_stream import UpstreamStream
from experts.upstream.pool import ConnectionPool
from experts.upstream.reading import Answer, read_reply
from experts.upstream.request import Ask, Extent, ask_of, measure
from experts.upstream.stream import Piece, StreamReader
from experts.upstream.usage import Usage

__all__ = [
    "CONSEQUENCES",
    "Answer",
    "Ask",
    "ConnectionPool",
    "Consequence",
    "Dialect",
    "Extent",
    "Failure",
    "FailureKind",
    "Piece",
    "StreamReader",
    "TokenCounter",
    "UpstreamClient",
    "UpstreamStream",
    "Usage",
    "ask_of",
    "hand_over_keys",
    "measure",
    "read_key",
    "read_reply",
    "scrub",
    "word_request",
]
