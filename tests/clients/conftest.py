"""One endpoint for all clients: the web application on a port, its experts a scripted API, without Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "serve"), str(HERE.parent.parent)]

from able_api import AbleHandler  # noqa: E402
from fake_experts import FixedRouter, LocalLedger  # noqa: E402

from tests.scripted_api import serve_chat  # noqa: E402
from tests.web_server import serve_app  # noqa: E402

_BUDGET_USD = 5.0


class Endpoint(NamedTuple):
    """A running endpoint, and a key of it."""

    url: str
    key: str
    home: Path

    def spent_usd(self) -> float:
        """What is charged to the key by now."""
        from serve.ledger.ledger import LEDGER_FILE, Ledger

        (key,) = Ledger(self.home / LEDGER_FILE).list_keys()
        return key.spent_usd

    def comes_to_usd(self, spent_usd: float) -> bool:
        """Whether the key's spending comes to so much: an answer does not wait for its books."""
        ends = time.monotonic() + 20
        while abs(self.spent_usd() - spent_usd) > 1e-11 and time.monotonic() < ends:
            time.sleep(0.02)
        return abs(self.spent_usd() - spent_usd) <= 1e-11


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint, closed to callers without the key, which has a budget."""
    from experts import ExpertSpec
    from serve.config import ServeConfig
    from serve.experts.direct import DirectClient
    from serve.http.api import create_api
    from serve.ledger.ledger import LEDGER_FILE, Ledger
    from serve.request.gateway import Gateway

    home = tmp_path_factory.mktemp("home")
    config = ServeConfig(home=home, access="keys")
    _, key = Ledger(home / LEDGER_FILE).create_key("clients", budget_usd=_BUDGET_USD)
    with serve_chat(AbleHandler) as base_url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLE_KEY", "able-secret")
        price = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 4.0}
        specs = [
            ExpertSpec(
                name=name,
                backend="openai",
                model=name,
                price=price,
                base_url=base_url,
                api_key_env="ABLE_KEY",
                offers=("embeddings", "rerank") if name == "vectors" else ("chat",),
            )
            for name in ("able", "other", "vectors")
        ]
        experts = {spec.name: DirectClient(spec) for spec in specs}
        gateway = Gateway(config, FixedRouter("able", "other"), LocalLedger(config), experts)

        async def close() -> None:
            for expert in experts.values():
                await expert.aclose()

        with serve_app(create_api(gateway), on_end=close) as url:
            yield Endpoint(url, key, home)
