"""What a setting of a key or a team may be: one rule for the command line, the admin API and old rows."""

import asyncio
import ipaddress
import json
import math
import unicodedata
from fractions import Fraction

import httpx
import pytest
from fake_experts import FixedRouter, LocalLedger, ScriptedExpert
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.http.client_address import client_address
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, hash_secret
from serve.request.candidates.door import check_door
from serve.request.gateway import Gateway
from serve.wire.addresses import read_address, read_network
from serve.wire.api_errors import ApiError
from serve.wire.limits import BOUNDS, fault_of_name, fault_of_number
from warehouse import InputError

EXPERT = "smollm2-135m"
HUGE = st.sampled_from([10**30, -(10**30), 2**63, 10**400, 1e300, math.inf, math.nan, -math.inf])
NUMBERS = (
    st.integers(-2, 2**70) | HUGE | st.floats() | st.floats(0, 1e6) | st.integers(1, 100) | st.floats(0, 1)
)
OF_TEAMS = {"budget_usd", "alert_at"}
ON_CHANGE = sorted(set(BOUNDS) - {"grace_s"})


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A ledger with an admin and a key, and how to ask the API over it."""
    home = tmp_path_factory.mktemp("home")
    config = ServeConfig(home=home, access="keys")
    experts = {EXPERT: ScriptedExpert(EXPERT)}
    api = create_api(Gateway(config, FixedRouter(EXPERT), LocalLedger(config), experts))
    ledger = Ledger(home / LEDGER_FILE)
    _, root = ledger.create_key("root", admin=True)
    ledger.create_key("ann", budget_usd=1.0)
    ledger.create_team("lab")

    def ask(method, path, body):
        async def go():
            transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
                headers = {"authorization": f"Bearer {root}", "content-type": "application/json"}
                return await web.request(method, path, content=json.dumps(body), headers=headers)

        return asyncio.run(go())

    return home, ledger, ask


def run(home, *words):
    """Run a command; return its error, None where it went well."""
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert done.exit_code == 0 or isinstance(done.exception, InputError | SystemExit), done.exception
    return None if done.exit_code == 0 else done.exception if isinstance(done.exception, InputError) else done


def is_within(name, value):
    """Whether a value may be a setting, by exact arithmetic."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    bound, exact = BOUNDS[name], Fraction(value)
    is_whole = not bound.is_whole or exact.denominator == 1
    return is_whole and Fraction(bound.least) <= exact <= Fraction(bound.most)


@settings(deadline=None)
@given(st.sampled_from([*BOUNDS]), NUMBERS)
@example("requests_per_minute", 10**30)
@example("budget_usd", 10**400)
def test_a_number_is_refused_exactly_where_it_is_out_of_bounds(name, value):
    fault = fault_of_number(name, value)
    assert (fault is None) == is_within(name, value)
    assert fault is None or name in fault


@pytest.mark.parametrize("name", ON_CHANGE)
def test_every_number_has_its_bounds_at_every_door(endpoint, name):
    home, ledger, ask = endpoint
    most = BOUNDS[name].most
    for value in (most, most + 1, 10**30, 10**400, math.nan):
        told = [value] if name == "alert_at" else value
        words = [f"--{name.replace('_', '-')}", str(value)]
        reply = ask("PATCH", "/v1/admin/keys/ann", {name: told})
        of_command = run(home, "keys", "set", "ann", *words)
        if value == most:
            assert (reply.status_code, of_command) == (200, None)
            continue
        with pytest.raises(InputError) as refused:
            ledger.change_key("ann", **{name: told})
        messages = [reply.json()["error"]["message"], str(refused.value)]
        if isinstance(of_command, InputError):  # else it is no number that the option could hold
            messages.append(str(of_command))
        assert reply.status_code == 400
        assert of_command is not None
        for message in messages:
            assert name in message
            assert format(most, ",.15g") in message
        if name in OF_TEAMS and value == 10**30:
            assert ask("PATCH", "/v1/admin/teams/lab", {name: told}).status_code == 400
            assert isinstance(run(home, "teams", "set", "lab", *words), InputError)


def test_the_grace_of_a_secret_has_bounds_too(endpoint):
    home, ledger, ask = endpoint
    for wrong in (-1.0, 1e9, math.nan, math.inf, 10**400):
        assert ask("POST", "/v1/admin/keys/ann/rotate", {"grace_s": wrong}).status_code == 400
        with pytest.raises(InputError, match="grace_s"):
            ledger.rotate_key("ann", wrong)
    assert run(home, "keys", "rotate", "ann", "--grace", f"{'9' * 400}d") is not None
    assert run(home, "keys", "set", "ann", "--expires", f"{'9' * 400}d") is not None


def test_rows_of_before_there_were_bounds_are_read_within_them(tmp_path, endpoint):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, secret = ledger.create_key("ann", budget_usd=1.0)
    columns = sorted(set(BOUNDS) - {"grace_s", "budget_usd", "alert_at"})
    for number in (2**62, -5):
        told = ", ".join(f"{name} = {number}" for name in columns)
        ledger._db.write(f"update keys set {told} where key_id = ?", (key_id,))
        caller = ledger.identify(hash_secret(secret))
        for name in set(columns) - {"paced_over"}:
            assert is_within(name, getattr(caller, name)), name
        assert ledger.refuse(caller, "r") is None
        ledger.reserve(key_id, f"r{number}", [0.1], lifetime_s=900.0)
        assert ledger.list_keys()[0].name == "ann"


NAMES = st.text(max_size=8) | st.sampled_from(
    [
        *(
            "",
            " ",
            "a\nb",
            "a\r",
            "\tb",
            "a\x00b",
            "a\x1b[31mb",
            "a\u2028b",
            "a\u202eb",
            "a" * 200,
            "a" * 201,
        ),
        *("maría", "名前", "key-0123456789ab", "team-0123456789ab", "key-ring", " a", "a "),
    ]
)


def may_be_called(name):
    shown = not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in name)
    turned = any("\u202a" <= one <= "\u202e" or "\u2066" <= one <= "\u2069" for one in name)
    return bool(name) and name == name.strip() and len(name) <= 200 and shown and not turned


@settings(deadline=None)
@given(NAMES)
def test_a_name_can_be_told_and_typed(name):
    assert (fault_of_name(name) is None) == may_be_called(name)


def test_a_name_is_one_for_the_command_line_and_the_admin_api_alike(endpoint):
    home, ledger, ask = endpoint
    for name in (
        "",
        " ",
        "a\nb",
        "a\x1b[31mb",
        "a\u2028b",
        "a" * 201,
        "key-0123456789ab",
        "maría",
        "a" * 200,
    ):
        good = fault_of_name(name) is None and name != "key-0123456789ab"
        for what in ("keys", "teams"):
            listed = ledger.list_keys if what == "keys" else ledger.list_teams
            end = ledger.revoke_key if what == "keys" else ledger.remove_team
            before = len(listed())
            reply = ask("POST", f"/v1/admin/{what}", {"name": name})
            assert reply.status_code == (201 if good else 400), reply.text
            if good:
                end(reply.json()["id"])
            assert (run(home, what, "create", name) is None) == good
            if good:
                end(name)
            else:
                assert len(listed()) == before


def test_names_in_lists_are_names(endpoint):
    _, ledger, ask = endpoint
    for field in ("experts", "models"):
        for wrong in (["a\nb"], ["x" * 201], ["a"] * 101, [" a"], ["a\x1b[2J"]):
            assert ask("PATCH", "/v1/admin/keys/ann", {field: wrong}).status_code == 400
            with pytest.raises(InputError, match=field):
                ledger.change_key("ann", **{field: wrong})


SETTABLE = {
    "--budget-usd": "5",
    "--team": "lab",
    "--paced-over": "5",
    "--requests-per-minute": "5",
    "--preset": "economy",
    "--max-experts-asked": "2",
    "--max-latency-s": "2",
    "--record": "none",
    "--explore-share": "0.5",
    "--explore-usd-per-day": "1",
    "--expires": "30d",
    "--model": "leeroo",
    "--dialect": "chat",
    "--network": "10.0.0.0/8",
    "--alert-at": "50",
    "--expert": EXPERT,
}


@pytest.mark.parametrize("option", SETTABLE)
def test_what_is_set_and_cleared_at_once_is_refused_before_any_work(endpoint, option):
    home, ledger, _ = endpoint
    before = ledger.find_key(ledger.active_key("ann")["key_id"]), ledger.log.list_deeds()
    for cleared in (option, option.removeprefix("--"), option.removeprefix("--").replace("-", "_")):
        told = run(home, "keys", "set", "ann", option, SETTABLE[option], "--clear", cleared)
        assert isinstance(told, InputError)
        assert "taken away" in str(told)
    if option in ("--budget-usd", "--alert-at"):
        told = run(home, "teams", "set", "lab", option, SETTABLE[option], "--clear", option)
        assert isinstance(told, InputError)
    assert (ledger.find_key(before[0].key_id), ledger.log.list_deeds()) == before


# IPv4 by way of IPv6.

MAPPED = 0xFFFF << 32
IPV4 = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(IPV4, IPV4, st.integers(0, 32), st.sampled_from(["plain", "mapped", "hex"]), st.booleans())
def test_a_network_matches_the_same_addresses_in_every_form(first, address, prefix, form, is_near):
    network = ipaddress.IPv4Network((first, prefix), strict=False)
    if is_near:
        address = int(network.network_address) | (address & int(network.hostmask))
    told = {
        "plain": f"{network}",
        "mapped": f"::ffff:{ipaddress.IPv4Address(first)}/{96 + prefix}",
        "hex": f"{ipaddress.IPv6Address(MAPPED | first)}/{96 + prefix}",
    }[form]
    assert read_network(told) == network
    lies_in = ipaddress.IPv4Address(address) in network
    for peer in (f"{ipaddress.IPv4Address(address)}", f"{ipaddress.IPv6Address(MAPPED | address)}"):
        found = read_address(peer)
        assert (found in read_network(told)) == lies_in
        try:
            check_door(Caller("key-1", networks=(told,)), "/v1/models", found)
            is_let_in = True
        except ApiError:
            is_let_in = False
        assert is_let_in == lies_in
        scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", b"192.0.2.1")]}
        trusted = ServeConfig.parse({"trusted_proxies": [told]}).trusted_proxies
        seen = client_address(scope, trusted)
        assert seen == (read_address("192.0.2.1") if lies_in else found)


def test_networks_of_keys_are_kept_in_one_form(endpoint):
    _, ledger, _ = endpoint
    ledger.change_key("ann", networks=["::ffff:10.0.0.0/104", "2001:db8::7/32", " 10.1.2.3 "])
    assert ledger.find_key(ledger.active_key("ann")["key_id"]).networks == (
        *("10.0.0.0/8", "2001:db8::/32", "10.1.2.3/32"),
    )
    ledger.change_key("ann", networks=None)
