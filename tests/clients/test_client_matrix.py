"""Clients that people have, at the versions that they have, unmodified and each in a process of its own.

``make test-clients`` runs it, and writes ``docs/clients.md`` from what came of it. The clients live in an
environment of their own (:mod:`client_environment`), which takes minutes to make and is made once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from client_environment import MATRIX, ClientEnvironment, make_environment

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not os.environ.get("LEEROO_TEST_CLIENTS"), reason="`make test-clients` runs it"),
    pytest.mark.timeout(1800),
]
PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
#: A script, the client that it is of, and the packages whose versions the table names.
CLIENTS = {
    "openai_client.py": ("openai for Python", ["openai"]),
    "anthropic_client.py": ("anthropic for Python", ["anthropic"]),
    "litellm_client.py": ("litellm", ["litellm"]),
    "langchain_client.py": ("LangChain", ["langchain-openai", "langchain-anthropic"]),
    "llama_index_client.py": ("LlamaIndex", ["llama-index-llms-openai-like"]),
    "instructor_client.py": ("instructor", ["instructor"]),
    "pydantic_ai_client.py": ("Pydantic AI", ["pydantic-ai-slim"]),
    "openai_node.mjs": ("openai for Node", ["openai"]),
    "anthropic_node.mjs": ("anthropic for Node", ["@anthropic-ai/sdk"]),
    "vercel_ai.mjs": (
        "Vercel AI SDK",
        ["ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "@ai-sdk/anthropic"],
    ),
    "pi_agent.py": ("pi, a coding agent", ["@mariozechner/pi-coding-agent"]),
    "codex_agent.py": ("Codex, a coding agent", ["@openai/codex"]),
}
_INTRO = """# Clients

Unmodified clients, asked to do what is listed by one running endpoint, with a key and scripted experts.
`make test-clients` tries them and writes this page. `make test` tries the packages `openai` and
`anthropic` too, at the versions that the project is developed with.

| client | versions | works | does not work |
| --- | --- | --- | --- |
"""


@pytest.fixture(scope="module")
def environment() -> ClientEnvironment:
    cache = Path(os.environ.get("LEEROO_CACHE") or Path.home() / ".cache" / "leeroo")
    made = make_environment(cache)
    if made.why:
        pytest.skip(f"the clients' environment is not to be had: {made.why}")
    return made


@pytest.fixture(scope="module")
def table():
    """What came of each client; the page, once all were tried."""
    rows: dict[str, str] = {}
    yield rows
    if set(rows) == set(CLIENTS):
        PAGE.write_text(_INTRO + "".join(rows[script] for script in CLIENTS), encoding="utf-8")


@pytest.mark.parametrize("script", CLIENTS)
def test_a_client_works_as_it_is(script, environment, endpoint, table):
    name, packages = CLIENTS[script]
    versions = [(package, _version(environment, script, package)) for package in packages]
    variables = environment.variables(endpoint.url, endpoint.key)
    command = [str(environment.python), str(MATRIX / script)]
    if script.endswith(".mjs"):
        for module in MATRIX.glob("*.mjs"):  # Node looks for packages beside the script
            shutil.copy(module, environment.home)
        command = ["node", str(environment.home / script)]
    done = subprocess.run(
        command,
        env=variables,
        cwd=environment.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    tried = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"tried"')]
    told = ", ".join(f"{package} {version}" for package, version in versions)
    works = "; ".join(one["tried"] for one in tried if not one["why"])
    fails = "; ".join(one["tried"] for one in tried if one["why"])
    table[script] = f"| {name} | {told} | {works} | {fails} |\n"
    assert done.returncode == 0, done.stderr[-2000:]
    assert tried
    assert [one for one in tried if one["why"]] == []


def _version(environment: ClientEnvironment, script: str, package: str) -> str:
    """The version of a package of Python's or Node's; some have one name in both."""
    is_node = script.endswith(".mjs") or package.startswith("@")
    return environment.node_version(package) if is_node else environment.python_version(package)
