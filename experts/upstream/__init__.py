"""What an upstream's reply means: one reading, shared by rounds, bulk answers and the endpoint.

A reply (status, headers, body; whole or streamed) becomes an answer or a :class:`Failure` of a stated kind.
"""

from experts.upstream.failure import CONSEQUENCES, Consequence, Failure, FailureKind
from experts.upstream.request import Ask
from experts.upstream.usage import Usage

__all__ = ["CONSEQUENCES", "Ask", "Consequence", "Failure", "FailureKind", "Usage"]
