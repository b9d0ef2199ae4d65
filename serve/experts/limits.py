"""How many requests a replica of an engine takes."""

from __future__ import annotations

#: Conversations that one CPU or GPU replica works on at once; further ones wait in the queue of their sender.
MAX_ONGOING = 64
MAX_QUEUED = 256
