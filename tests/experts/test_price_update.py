"""Prices from a list: read, compared, and written into a catalogue that stays as it was otherwise."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from experts import Price, load_catalogue
from experts.price_map import PriceMap, read_price_map
from experts.price_update import review_prices
from experts.price_writing import write_prices
from pipelines.cli import app
from warehouse import InputError

DAY = date(2026, 5, 1)
AT = datetime(2026, 5, 1, tzinfo=UTC)
NEW = {
    **{"usd_per_mtok_in": 0.28, "usd_per_mtok_out": 0.00001, "usd_per_mtok_cached_in": 0.028},
    "tiers": [{"above_prompt_tokens": 200_000, "usd_per_mtok_in": 2.5}],
}

#: One price in every way that YAML has for it; each holds 3 and 15.
STYLES = {
    "flow": "    price: {usd_per_mtok_in: 3, usd_per_mtok_out: 15}  # of the list\n",
    "flow of two lines": "    price: {usd_per_mtok_in: 3,\n      usd_per_mtok_out: 15}\n",
    "block": "    price:\n      usd_per_mtok_in: 3  # in\n      # and out\n      usd_per_mtok_out: 15\n",
    "commented": "    price:  # in & out\n      # *\n      usd_per_mtok_in: 3\n      usd_per_mtok_out: 15\n",
    "deep block": "    price: # what it costs\n        usd_per_mtok_in: 3\n        usd_per_mtok_out: 15\n",
    "block with tiers": (
        "    price:\n      usd_per_mtok_in: 3\n      usd_per_mtok_out: 15\n      tiers:\n"
        "        - {above_prompt_tokens: 9, usd_per_mtok_in: 4}   # long\n"
    ),
    "list": "    price:\n      - {usd_per_mtok_in: 9, usd_per_mtok_out: 9}\n      - since: 2026-01-01\n"
    "        usd_per_mtok_in: 3\n        usd_per_mtok_out: 15   # cheaper\n",
    "list without indent": "    price:\n    - {usd_per_mtok_in: 3, usd_per_mtok_out: 15} # one\n",
    "flow list": "    price: [{usd_per_mtok_in: 3, usd_per_mtok_out: 15}]\n",
    "of that day": "    price:\n      - {usd_per_mtok_in: 9, usd_per_mtok_out: 9}\n"
    "      - since: 2026-05-01\n        usd_per_mtok_in: 3\n        usd_per_mtok_out: 15   # wrong\n",
    "of that day, flow": "    price: [{usd_per_mtok_in: 9, usd_per_mtok_out: 9}, "
    "{since: 2026-05-01, usd_per_mtok_in: 3, usd_per_mtok_out: 15}]\n",
    "quoted": '    "price": {"usd_per_mtok_in": 3, "usd_per_mtok_out": 15}\n',
}


def entry(name: str, price: str, *, last: bool) -> str:
    before = "" if last else price
    after = price if last else ""
    return f"  - name: {name}\n    backend: openai\n{before}    model: m-{name}  # näher\n{after}"


def prices(**entries: Any) -> PriceMap:
    return PriceMap(entries, "a list")


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    styles=st.lists(st.tuples(st.sampled_from(sorted(STYLES)), st.booleans()), min_size=1, max_size=4),
    ending=st.sampled_from(["\n", "\r\n"]),
    tail=st.sampled_from(["", "\n# the end\n", "\n\n"]),
    mark=st.booleans(),
    data=st.data(),
)
def test_only_the_prices_change(
    tmp_path: Path, styles: list[tuple[str, bool]], ending: str, tail: str, mark: bool, data: st.DataObject
) -> None:
    text = "# mine\nexperts:\n"
    for place, (style, last) in enumerate(styles):
        text += entry(f"e{place}", STYLES[style], last=last) + "\n"
    text = ("\ufeff" if mark else "") + (text.rstrip("\n") + (tail or "\n")).replace("\n", ending)
    path = tmp_path / "mine.yaml"
    write(path, text)
    known = load_catalogue(path)
    chosen = data.draw(st.sets(st.sampled_from(known.names), min_size=1))
    review = review_prices(known, prices(**dict.fromkeys(chosen, NEW)), since=DAY)
    assert {change.expert for change in review.changes} == chosen
    write_prices(known, review.changes)
    after = load_catalogue(path)
    for spec, was in zip(after.experts, known.experts, strict=True):
        assert spec.model_copy(update={"prices": ()}) == was.model_copy(update={"prices": ()})
        if spec.name not in chosen:
            assert spec.prices == was.prices
            continue
        assert spec.price_at(AT) == Price.model_validate(NEW | {"since": DAY})
        assert spec.prices[0] == was.prices[0]
    written = path.read_bytes().decode()
    for line in ("# mine", "# näher", "# the end") if tail.startswith("\n#") else ("# mine", "# näher"):
        assert written.count(line) == text.count(line)
    for comment in ("# of the list", "# in", "# and out", "# what it costs", "# long", "# cheaper", "# one"):
        assert written.count(comment) == text.count(comment)
    again = review_prices(after, prices(**dict.fromkeys(chosen, NEW)), since=DAY)
    assert (again.changes, set(again.same)) == ((), chosen)  # twice adds nothing


@pytest.mark.parametrize("price", ["    price: *shared\n", "    <<: *whole\n"])
def test_a_price_that_others_share_is_refused_and_nothing_is_written(tmp_path: Path, price: str) -> None:
    path = tmp_path / "mine.yaml"
    text = "experts:\n" + entry(
        "a", "    price: &shared {usd_per_mtok_in: 3, usd_per_mtok_out: 15}\n", last=True
    )
    text += entry("b", price, last=True)
    if "whole" in price:
        text = text.replace("    price: &shared {", "    <<: &whole {price: {").replace("15}", "15}}")
    write(path, text)
    known = load_catalogue(path)
    review = review_prices(known, prices(b=NEW), since=DAY)
    with pytest.raises(InputError, match="shared through an anchor"):
        write_prices(known, review.changes)
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_price_that_others_point_to_stays_for_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "experts:\n" + entry(
        "a", "    price: &mine {usd_per_mtok_in: 3, usd_per_mtok_out: 15}\n", last=True
    )
    write(path, text + entry("b", "    price: *mine\n", last=True))
    known = load_catalogue(path)
    write_prices(known, review_prices(known, prices(a=NEW), since=DAY).changes)
    after = load_catalogue(path)
    assert after.get("b").prices == known.get("b").prices
    assert after.get("a").price_at(AT).usd_per_mtok_in == 0.28
    text = text.replace("&mine {", "&mine [{").replace("15}", "15}]")
    write(path, text + entry("b", "    price: *mine\n", last=True))
    known = load_catalogue(path)
    with pytest.raises(InputError, match="by hand"):
        write_prices(known, review_prices(known, prices(a=NEW), since=DAY).changes)
    assert load_catalogue(path) == known


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    write(path, "experts:\n" + entry("a", STYLES["flow"], last=True))
    known = load_catalogue(path)
    review = review_prices(known, prices(a=NEW), since=DAY)
    write(path, "experts:\n" + entry("a", STYLES["flow"].replace("15", "16"), last=True))
    with pytest.raises(InputError, match="changed meanwhile"):
        write_prices(known, review.changes)


def test_what_a_list_says_in_its_own_words() -> None:
    told = {
        **{"input_cost_per_token": 2.8e-07, "output_cost_per_token": 4.2e-07},
        **{"cache_read_input_token_cost": 2.8e-08, "cache_creation_input_token_cost": 0.0},
        **{"input_cost_per_token_above_200k_tokens": 5.6e-07, "input_cost_per_token_batches": 1.4e-07},
        **{"cache_creation_input_token_cost_above_1hr": 6e-06, "input_cost_per_request": 0.005},
        **{"output_cost_per_image": 0.0001, "search_context_cost_per_query": {"size": 0.01}, "mode": "chat"},
    }
    price, left_out = prices(m=told).price("m")
    assert price == Price.model_validate(
        {
            **{"usd_per_mtok_in": 0.28, "usd_per_mtok_out": 0.42, "usd_per_mtok_cached_in": 0.028},
            **{"usd_per_mtok_cache_write_1h": 6.0, "usd_per_call": 0.005, "batch_factor": 0.5},
            "tiers": [{"above_prompt_tokens": 200_000, "usd_per_mtok_in": 0.56}],
        }
    )
    assert left_out == ("output_cost_per_image", "search_context_cost_per_query")
    with pytest.raises(InputError, match="a list, m: the price is incomplete"):
        prices(m={"input_cost_per_token": 1e-6, "mode": "chat"}).price("m")


def test_all_chat_models_of_the_kept_list_can_be_read() -> None:
    kept = read_price_map("litellm")
    chat = [key for key, told in kept.entries.items() if told.get("mode") == "chat"]
    priced = [key for key in chat if kept.entries[key].get("input_cost_per_token") is not None]
    assert len(priced) > 1_500
    for key in priced:
        price, _ = kept.price(key)
        usd = kept.entries[key]["input_cost_per_token"] * 1e6
        assert price.usd_per_mtok_in == pytest.approx(usd)
    sonnet, _ = kept.price("claude-sonnet-4-20250514")
    assert sonnet.cost_usd(250_000.0, 1_000.0) == pytest.approx(250_000 * 6e-6 + 1_000 * 22.5e-6)


CATALOGUE = """experts:
  - {name: known, backend: openai, model: gpt-4o, price: {usd_per_mtok_in: 5, usd_per_mtok_out: 15}}
  - name: elsewhere
    backend: openai
    model: gpt-4o
    base_url: http://127.0.0.1:9/v1
    price: {usd_per_mtok_in: 5, usd_per_mtok_out: 15, usd_per_mtok_reasoning: 20, min_usd_per_call: 0.01}
  - name: own
    backend: openai
    model: m
    base_url: http://127.0.0.1:9/v1
    price: {usd_per_hour: 1, tokens_per_s_in: 9, tokens_per_s_out: 9}
"""


def run(*options: str) -> Any:
    return CliRunner().invoke(app, ["prices", "update", *options], catch_exceptions=True)


def test_the_command_shows_first_and_writes_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    mine, listed = tmp_path / "mine.yaml", tmp_path / "prices.json"
    write(mine, CATALOGUE)
    own = {"input_cost_per_token": 4e-6, "output_cost_per_token": 1.5e-5, "litellm_provider": "openai"}
    write(listed, json.dumps({"gpt-4o": own}))
    shown = run("--from", str(listed), "--catalogue", str(mine), "--since", "2026-05-01")
    assert shown.exit_code == 0, shown.output
    assert mine.read_text() == CATALOGUE
    assert "1 new prices; nothing is written" in shown.output
    assert "elsewhere: whose prices 127.0.0.1 has is not known" in shown.output
    assert "own:" not in shown.output
    options = ["--from", str(listed), "--catalogue", str(mine), "--expert", "elsewhere=gpt-4o"]
    options += ["--since", "2026-05-01"]
    told = run(*options, "--yes", "--json")
    rows = [json.loads(line) for line in told.output.splitlines()]
    assert {(row["expert"], row["field"], row["was"], row["becomes"]) for row in rows} == {
        ("known", "usd_per_mtok_in", 5, 4),
        ("elsewhere", "usd_per_mtok_in", 5, 4),
        ("elsewhere", "usd_per_mtok_reasoning", 20, None),
    }
    specs = load_catalogue(mine).experts
    assert specs[1].price_at(AT).min_usd_per_call == 0.01  # the list says nothing of it
    assert [spec.price_at(datetime(2026, 4, 30, tzinfo=UTC)).usd_per_mtok_in for spec in specs[:2]] == [5, 5]
    assert [spec.price_at(AT).usd_per_mtok_in for spec in specs[:2]] == [4, 4]
    assert "nothing to write" in run(*options, "--yes").output
    late = run(*options[:-1], "2026-04-01")
    assert "later than 2026-04-01" in str(late.exception)


STRETCH = st.fixed_dictionaries(
    {},
    optional={
        "range": st.sampled_from([[0, 1000], [1000, 2000], None, "1k", {}]),
        "input_cost_per_token": st.sampled_from([1e-6, 2e-6]),
        "output_cost_per_token": st.sampled_from([3e-6, 4e-6]),
        "search_cost_per_query": st.just(0.01),
    },
) | st.sampled_from([None, 3, "cheap"])


@settings(deadline=None)
@given(st.lists(STRETCH, max_size=4) | st.sampled_from([None, 3, {}, "none"]))
def test_nothing_of_a_price_that_goes_by_length_is_dropped_without_a_word(stretches: Any) -> None:
    plain = {"input_cost_per_token": 5e-6, "output_cost_per_token": 6e-6}
    try:
        price, left_out = prices(m=plain | {"tiered_pricing": stretches}).price("m")
    except InputError:  # its stretches are in no order: that is said
        return
    if not isinstance(stretches, list) or not stretches:
        assert left_out == ("tiered_pricing",)
        return
    tiers = {tier.above_prompt_tokens for tier in price.tiers}
    for place, one in enumerate(stretches):
        name = f"tiered_pricing[{place}]"
        is_read = isinstance(one, dict) and (not place or isinstance(one.get("range"), list))
        assert (name in left_out) == (not is_read)
        if is_read and "search_cost_per_query" in one:
            assert f"{name}.search_cost_per_query" in left_out
        if is_read and place:
            assert one["range"][0] in tiers


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ('{"gpt-4o": 3}', "is no mapping"),
        ("[]", "no prices found"),
        ('{"gpt-4o": {', "line 1"),
        ('{"gpt-4o": {"usd_per_mtok_in": -1, "usd_per_mtok_out": 1}}', "gpt-4o"),
        ('{"gpt-4o": {"input_cost_per_token": 1, "input_cost_per_token_batches": NaN}}', "gpt-4o"),
        ('{"gpt-4o": {"tiered_pricing": [{}, {"range": ["a", 5]}]}}', "gpt-4o"),
        ('{"gpt-4o": {"tiered_pricing": [{}, {"range": []}]}}', "gpt-4o"),
        ('{"gpt-4o": {"tiered_pricing": [{}, {"range": [Infinity]}]}}', "gpt-4o"),
        ('{"gpt-4o": {"input_cost_per_token": 1' + "0" * 5000 + "}}", "cannot be read"),
    ],
)
def test_a_faulty_list_is_refused(tmp_path: Path, listed: str, told: str) -> None:
    mine, file = tmp_path / "mine.yaml", tmp_path / "prices.json"
    write(mine, CATALOGUE)
    write(file, listed)
    refused = run("--from", str(file), "--catalogue", str(mine), "--yes")
    assert isinstance(refused.exception, InputError)
    assert told in str(refused.exception)
    assert mine.read_text() == CATALOGUE


def test_the_programs_own_catalogue_is_not_written() -> None:
    refused = run("--from", "litellm", "--yes")
    assert isinstance(refused.exception, InputError)
    assert "--catalogue" in str(refused.exception)
