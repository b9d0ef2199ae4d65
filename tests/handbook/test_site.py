"""The documentation site builds without a warning, asks no other host, and its reference is the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from handbook.command_line import anchor, commands
from handbook.http import describe_api
from handbook.python_api import PACKAGES, exports

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    built = subprocess.run(
        [mkdocs, "build", "--quiet", "--strict", "--site-dir", out], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_the_reference_has_every_option_route_table_and_name(site):
    page = read(site, "reference/command-line.html")
    for path, command in commands():
        assert f'id="{anchor(path)}"' in page, path
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                assert all(name in page for name in parameter.opts), (path, parameter.opts)
    page = read(site, "reference/http.html")
    for path in describe_api()["paths"]:
        assert path in page
    page = read(site, "reference/tables.html")
    from warehouse.schemas import TABLES

    for name, schema in TABLES.items():
        assert f'id="{name}"' in page
        assert all(f"<code>{field.name}</code>" in page for field in schema)
    page = read(site, "reference/python.html")
    for package in PACKAGES:
        for name, module in exports(package).items():
            assert name.isupper() or f"{module}.{name}" in page
    page = read(site, "reference/metrics.html")
    assert "leeroo_cost_usd" in page
    assert "leeroo_traffic_novel_share" in page


LOADED = re.compile(
    r"""<(script|img|iframe)[^>]+src="(https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="(https?:)?//"""
)


def test_pages_load_nothing_from_other_hosts(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []


def test_a_wrong_link_fails_the_build(tmp_path):
    from handbook.hooks import _LINK, place_link

    def placed(text: str) -> str:
        return _LINK.sub(lambda link: place_link(link, "docs/howto/budgets.md", "howto/budgets.md"), text)

    assert placed("[x](../endpoint.md#who-pays)") == "[x](../endpoint.md#who-pays)"
    assert placed("[x](../../README.md)") == "[x](../index.md)"
    assert placed("[the code](../../serve/app.py)") == "the code (`serve/app.py`)"
    assert placed("[x](../nothing.md)") == "[x](../nothing.md)"  # the strict build names it
