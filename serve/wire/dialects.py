"""The dialects that a key may be limited to, by the paths on which they are spoken."""

#: A dialect has its path, and those that lie below it.
DIALECT_PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
}


def dialect_of(path: str) -> str | None:
    """Return the dialect that is spoken on a path; None for the endpoint's own paths.

    >>> dialect_of("/v1/messages/count_tokens"), dialect_of("/v1/models")
    ('messages', None)
    """
    for name, first in DIALECT_PATHS.items():
        if path == first or path.startswith(f"{first}/"):
            return name
    return None
