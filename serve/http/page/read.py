"""The page as it is sent: markup, style and scripts in one document that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

_FOLDER = Path(__file__).parent
_PART = re.compile(r"\{\{([a-z.]+)\}\}")


def read_page() -> tuple[str, str]:
    """Return the page and its content security policy, by which no other script or style can run in it."""
    page = _PART.sub(lambda found: _read(found[1]).strip(), _read("page.html"))
    hashes = {tag: _hash_of(page, tag) for tag in ("script", "style")}
    policy = "; ".join(
        [
            "default-src 'none'",
            "connect-src 'self'",
            f"script-src {hashes['script']}",
            f"style-src {hashes['style']}",
            "img-src data:",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return page, policy


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash_of(page: str, tag: str) -> str:
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
