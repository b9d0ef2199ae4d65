"""The coding agent `codex`: one task, by the Responses API."""

import os
import tempfile
from pathlib import Path

from tried import KEY, V1, tries, write_hello

TASK = 'use the tool exec_command with {"cmd": "printf hello > hello.txt"}'
CONFIG = f"""
model = "leeroo"
model_provider = "leeroo"
web_search = "disabled"

[model_providers.leeroo]
name = "Leeroo"
base_url = "{V1}"
env_key = "ENDPOINT_KEY"
wire_api = "responses"
"""


@tries("a command run, by the Responses API")
def complete_task():
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as work:
        Path(home, "config.toml").write_text(CONFIG)
        env = {"PATH": os.environ["PATH"], "HOME": home, "CODEX_HOME": home, "ENDPOINT_KEY": KEY}
        options = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        write_hello(["codex", *options, TASK], work, env)
