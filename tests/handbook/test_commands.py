"""Every command that README and the documents show: it exists, and it runs or says why it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handbook.fences import SHELLS, Fence, read_fences
from handbook.parsing import UnknownCommandError, check_command, read_words
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "infra/**/*.md", "examples/*.md")
    for path in ROOT.glob(pattern)
)
#: Pages that tell what was, not what to type today.
HISTORY = re.compile(r"docs/decisions/|docs/lab|CHANGELOG")
#: First words by which a block without a language is known to be commands.
PROGRAMS = ("leeroo ", "make ", "ray ", "kubectl ", "docker ", "pip ", "python ", "$ ", "git ", "aws ")
#: What a sentence may leave out of a command, or name by a word in capitals.
LEFT_OUT = re.compile(r"Missing|requires an argument|: $|has no command '[A-Z]+'")
#: The order in which pages run on the shared home: the first one fills it.
RUN_FIRST = ("docs/howto/outcomes.md", "docs/howto/budgets.md")


def fences(page: str) -> list[Fence]:
    return list(read_fences((ROOT / page).read_text(encoding="utf-8")))


def shell_blocks(page: str) -> list[Fence]:
    return [fence for fence in fences(page) if fence.language in SHELLS]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_commands_is_marked(page):
    unmarked = [f"{page}:{fence.line}" for fence in shell_blocks(page) if not fence.mark]
    assert not unmarked, 'mark it: sh {run}, sh {run-by="tests/..."} or sh {not-run="why"}'
    hidden = [
        f"{page}:{fence.line}"
        for fence in fences(page)
        if not fence.language and any(line.startswith(PROGRAMS) for line in fence.text.splitlines())
    ]
    assert not hidden, "a block of commands without a language: write sh and a mark"
    without_reason = [f"{page}:{f.line}" for f in shell_blocks(page) if f.mark == "not-run" and not f.value]
    assert not without_reason


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_leeroo_takes(page):
    for fence in shell_blocks(page):
        for line in fence.commands:
            check_command(line)


@pytest.mark.parametrize("page", [page for page in PAGES if not HISTORY.search(page)])
def test_every_command_in_a_sentence_has_options_that_exist(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for span in re.findall(r"`(leeroo [^`]+)`", text):
        line = " ".join(span.split())
        try:
            check_command(re.sub(r" \.\.\.$| \[[^\]]*\]|\|\S+|(?<=\w)\.\.\.", "", line))
        except UnknownCommandError as error:
            if not LEFT_OUT.search(str(error)):
                raise


def test_a_command_that_is_not_there_is_found():
    for line in (
        "leeroo evalute",
        "leeroo train --embeder wordllama",
        "leeroo keys create",
        "leeroo ask x --n",
    ):
        with pytest.raises(UnknownCommandError):
            check_command(line)
    assert check_command("LEEROO_HOME=/data leeroo keys list --json | head") == ("keys", "list")


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_runs_elsewhere_does(page):
    for fence in shell_blocks(page):
        if fence.mark != "run-by":
            continue
        other = ROOT / fence.value
        assert other.is_file(), f"{page}:{fence.line}"
        text = other.read_text(encoding="utf-8")
        for line in fence.commands:
            words = check_command(line)
            if other.suffix == ".md":
                assert line in text, f"{page}:{fence.line}: {fence.value} does not have {line}"
            elif words:
                missing = [word for word in words if f'"{word}"' not in text]
                assert not missing, f"{page}:{fence.line}: {fence.value} does not run {line}"
            else:
                last = Path([word for word in read_words(line) if "://" not in word][-1])
                assert last.name in text or last.stem in text, f"{page}:{fence.line}"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory) -> Iterator[Path]:
    """A folder with what a clone has, and a home of its own."""
    folder = tmp_path_factory.mktemp("documents")
    for name in ("examples", "experts"):
        (folder / name).symlink_to(ROOT / name)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def test_what_can_run_runs(shared_folder):
    """One test: the pages build on each other, and on what the first of them brings."""
    pages = [*RUN_FIRST, *(page for page in PAGES if page not in RUN_FIRST)]
    ran = 0
    for page in pages:
        for fence in shell_blocks(page):
            if fence.mark != "run":
                continue
            for line in fence.commands:
                run_line(line, shared_folder, f"{page}:{fence.line}")
                ran += 1
    assert ran > 12


def run_line(line: str, folder: Path, where: str) -> None:
    words = read_words(line)
    if words[0] == "source":  # the environment is there
        return
    if words[0] == "leeroo":
        done = CliRunner().invoke(app, words[1:], env={"LEEROO_HOME": str(folder / "home")})
        assert done.exit_code == 0, f"{where}: {line}\n{done.output}\n{done.exception!r}"
        return
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        line, shell=True, cwd=folder, env={**os.environ, "PATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{where}: {line}\n{done.stderr}"
