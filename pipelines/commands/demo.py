"""The demo: the whole loop on one small machine, ending with a question answered by the endpoint."""

from __future__ import annotations

import time

from rich.text import Text

from pipelines.commands.screen import Screen
from pipelines.commands.terminal.console import Terminal, print_line, print_step
from pipelines.questions.sources.base import QuestionSettings
from pipelines.selfplay.run import run_selfplay
from pipelines.selfplay.settings import RoundPlan, RouterSettings, SelfplaySettings
from warehouse.home import Home

QUESTION = "What is the capital of France?"

#: Knowledge that the two small models have to different degrees, and tasks that are beyond both.
DOMAINS = (
    "geography/capital", "chemistry/symbol", "economics", "english", "languages", "measurement",
    "arithmetic/chain_sum", "logic",
)  # fmt: skip


def run_demo(home: Home, *, per_domain: int = 20, port: int = 0) -> None:
    """Run a round with the bundled models, then serve its router and ask a question through the endpoint."""
    started = time.monotonic()
    settings = SelfplaySettings(
        rounds=RoundPlan("demo"),
        questions=QuestionSettings(domains=DOMAINS, per_domain=per_domain, frozen_count=10 * len(DOMAINS)),
        # MiniLM takes longer to read a question than experts of this price take to answer it.
        router=RouterSettings(embedder="wordllama"),
    )
    with Screen() as screen:
        result = run_selfplay(settings, home, screen.show).rounds[-1]
    print_step("Serve")
    ask_served(home, port=port)
    print_step(f"Done in {(time.monotonic() - started) / 60:.1f} minutes")
    for line in (
        f"Round {result.round}, router version {result.version}, kept in {home.path}. Next:",
        '  leeroo sql "select expert, avg(score) as accuracy from answers group by 1"',
        "  leeroo report         all results on one page",
        "  leeroo ui             rounds, figures and router versions in MLflow",
        "  leeroo serve --open   an endpoint for any OpenAI client; --open: without keys",
        '  leeroo ask "..."      ask the endpoint from a second terminal',
    ):
        print_line(line)


def ask_served(home: Home, *, port: int = 0, question: str = QUESTION) -> str:
    """Deploy the champion beside its experts, ask it as any client does, and end the deployment."""
    import httpx

    from pipelines.ray_session import serving_session
    from serve.config import ServeConfig
    from serve.run import start_serving, stop_serving

    config = ServeConfig(
        home=home.path,
        tracking_uri=home.mlflow_uri,
        warehouse_url=home.warehouse_url,
        port=port or free_port(),
    )
    with serving_session(config):
        print_line("Ray Serve starts the orchestrator and its experts (real vLLM engines) ...")
        started = time.monotonic()
        url = start_serving(config)
        try:
            print_line(f"Ready after {time.monotonic() - started:.0f} s at {url}")
            asked = {"model": "leeroo", "messages": [{"role": "user", "content": question}], "max_tokens": 24}
            # Whatever proxy the environment names is not for this machine.
            reply = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=120, trust_env=False)
            reply.raise_for_status()
            answer = reply.json()
            details, said = answer["leeroo"], str(answer["choices"][0]["message"]["content"])
            Terminal().print(Text.assemble("  ", ("you", "bold"), f"      {question}"))
            Terminal().print(Text.assemble("  ", (details["expert"], "bold"), f"  {said}"))
            print_line(f"  router version {details['router_version']}: {details['reason']}")
            return said
        finally:
            stop_serving()


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
