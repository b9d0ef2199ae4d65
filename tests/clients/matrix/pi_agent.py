"""The coding agent `pi`: one task, in each of the three dialects that it speaks."""

import json
import os
import tempfile
from pathlib import Path

from tried import KEY, URL, V1, tries, write_hello

TASK = 'use the tool write with {"path": "hello.txt", "content": "hello"}'
DIALECTS = {"openai-completions": V1, "openai-responses": V1, "anthropic-messages": URL}


def complete_task(api: str) -> None:
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as work:
        models = [{"id": "leeroo", "contextWindow": 32_000, "maxTokens": 1_000}]
        provider = {"baseUrl": DIALECTS[api], "api": api, "apiKey": KEY, "models": models}
        Path(home, "models.json").write_text(json.dumps({"providers": {"leeroo": provider}}))
        env = {"PATH": os.environ["PATH"], "HOME": home, "PI_CODING_AGENT_DIR": home, "PI_TELEMETRY": "0"}
        options = ["-p", "--no-session", "--offline", "--provider", "leeroo", "--model", "leeroo"]
        write_hello(["pi", *options, TASK], work, env)


for dialect in DIALECTS:
    tries(f"a file written, by `{dialect}`")(lambda dialect=dialect: complete_task(dialect))
