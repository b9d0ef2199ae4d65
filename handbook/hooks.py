"""What `mkdocs build` does beside rendering: adds the generated pages, and mends links that leave `docs/`."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from handbook.command_line import render_command_line  # noqa: E402
from handbook.fences import without_marks  # noqa: E402
from handbook.http import render_http  # noqa: E402
from handbook.measures import render_metrics  # noqa: E402
from handbook.models import render_catalogue  # noqa: E402
from handbook.python_api import render_python  # noqa: E402
from handbook.tables import render_tables  # noqa: E402

GENERATED = {
    "reference/command-line.md": render_command_line,
    "reference/catalogue.md": render_catalogue,
    "reference/tables.md": render_tables,
    "reference/http.md": render_http,
    "reference/python.md": render_python,
    "reference/metrics.md": render_metrics,
}
#: Pages that stand outside `docs/`, and where the site has them.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "infra/README.md": "infra.md",
    "examples/README.md": "examples.md",
}
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision in the navigation."""
    decisions = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    for section in config.nav or []:
        for title, entries in section.items():
            if title == "Decisions":
                section[title] = [f"decisions/{name}" for name in decisions]
            elif isinstance(entries, list):
                for entry in entries:
                    if isinstance(entry, dict) and "Decisions" in entry:
                        entry["Decisions"] = [f"decisions/{name}" for name in decisions]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated, and the pages that stand elsewhere in the repository."""
    for name, render in GENERATED.items():
        files.append(File.generated(config, name, content=render()))
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point links at pages of the site; a file that is no page is named instead."""
    own = page.file.src_uri
    source = next((path for path, name in OUTSIDE.items() if name == own), f"docs/{own}")
    if own in GENERATED:
        return without_marks(markdown)
    return without_marks(_LINK.sub(lambda link: place_link(link, source, own), markdown))


def place_link(link: re.Match[str], source: str, own: str) -> str:
    """Return a link of the file `source` as its page `own` has it.

    Args:
        link: label, target and fragment.
        source: path of the file in the repository.
        own: path of its page in the site.
    """
    label, target, fragment = link[1], link[2], link[3] or ""
    if not target or "://" in target or target.startswith("mailto:"):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in OUTSIDE:
        place = OUTSIDE[path]
    elif path.startswith("docs/") and ((ROOT / path).is_file() or path.removeprefix("docs/") in GENERATED):
        place = path.removeprefix("docs/")
    elif (ROOT / path).exists():
        words = label.strip("[]")
        return words if path in words or words.strip("`") == path else f"{words} (`{path}`)"
    else:
        return link[0]  # it leads nowhere: the strict build says so
    return f"{label}({posixpath.relpath(place, posixpath.dirname(own) or '.')}{fragment})"
