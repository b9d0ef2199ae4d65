"""The playground in a headless browser, in front of the web application with scripted experts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import BROWSER, Page

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


@pytest.fixture
def page(local_url, tmp_path):
    page = Page(local_url, tmp_path / "profile")
    yield page
    page.close()


def test_a_question_is_typed_forecast_answered_and_judged_by_keyboard(page):
    chosen = "document.querySelector('tr.chosen td')?.textContent"
    page.wait(
        lambda: page.read("document.getElementById('state')?.textContent") == "router version v1, 2 experts"
    )
    page.type("What is the capital of Peru?")  # the question has the focus already
    page.wait(lambda: page.read(chosen) is not None)
    balanced = page.read(chosen)

    page.read("document.getElementById('price').focus()")
    page.press("End")
    page.wait(lambda: page.read(chosen) == "gemma-3-270m")
    page.press("Home")
    page.wait(lambda: page.read(chosen) == "smollm2-135m")
    page.press("End")
    page.wait(lambda: page.read(chosen) == "gemma-3-270m")
    assert balanced in {"gemma-3-270m", "smollm2-135m"}

    page.press("Enter", modifiers=2)
    page.wait(lambda: page.text("answer") == "onetwothree")
    page.wait(lambda: page.read("document.getElementById('recent').rows.length") == 2)
    assert page.text("facts").startswith("gemma-3-270m, $0.000003")
    assert page.text("trouble") == ""

    page.read("document.querySelector('#recent button').focus()")
    page.read("document.activeElement.click()")
    page.wait(lambda: page.read("document.querySelector('#recent td:last-child').textContent") == "👍")

    assert page.photograph("playground-scripted.png").stat().st_size > 10_000
