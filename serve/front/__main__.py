"""``python -m serve.front FOLDER``: write the program that a node of a cluster starts as HAProxy."""

from __future__ import annotations

import sys
from pathlib import Path

from serve.front.haproxy import find_haproxy, write_launcher

if __name__ == "__main__":
    found = find_haproxy()
    if isinstance(found, str) or len(sys.argv) != 2:
        sys.exit(found if isinstance(found, str) else "give a folder: python -m serve.front FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_launcher(folder, found.path)
