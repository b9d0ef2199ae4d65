"""Every cell of every table is read whole at 80 columns."""

import csv
import io
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.commands.terminal.readable_table import fit
from pipelines.importing.registry import IMPORTERS

WORDS = st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)
CELLS = st.lists(WORDS.filter(lambda word: not word.isspace()), min_size=0, max_size=4).map(" ".join)


def printed(content, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(fit(content, console))
    return console.file.getvalue()


def plain(text):
    """Without spaces, line ends and what tables are drawn with."""
    return re.sub(r"[\s─━│┃┏┓┗┛┡┩┳┴┼╇└┘├┤╭╮╰╯┌┐┬╷╵╶╴]", "", text)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(1, 9), st.sampled_from([40, 80, 130]))
def test_no_cell_loses_anything(data, columns, width):
    rows = data.draw(st.lists(st.lists(CELLS, min_size=columns, max_size=columns), max_size=4))
    table = Table(title="what it is")
    for i in range(columns):
        table.add_column(f"column{i}", no_wrap=bool(i % 2), justify="right" if i % 3 else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    said = printed(Group("before", table), width)
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said.replace("…", "", sum(cell.count("…") for row in rows for cell in row))
    for row in rows:
        for cell in row:
            for word in cell.split():
                if len(word) <= width // 2:
                    assert word in said, (word, said)  # whole, in one line
            assert all(plain(said).count(letter) >= plain(cell).count(letter) for letter in set(plain(cell)))


def test_a_name_is_never_cut_in_two():
    table = Table()
    for header in ("version", "alias", "made (UTC)", "predictor", "experts", "accuracy", "$ / 1k", "note"):
        table.add_column(header, no_wrap=True)
    name = "helm/google_gemini-1.5-pro-preview-0409"
    table.add_row(
        "12", "champion", "2026-11-29 20:41", "stack", "11", "0.7123", "0.0004", f"beats {name} by 2"
    )
    said = printed(table)
    assert name in said
    assert "2026-11-29" in said


def test_reading_commands_speak_json_and_csv(tmp_path):
    home = ["--home", str(tmp_path)]
    made = CliRunner().invoke(app, ["keys", "create", "a-team", "--budget-usd", "5", *home])
    assert made.exit_code == 0, made.output
    shown = CliRunner().invoke(app, ["keys", "list", *home], env={"COLUMNS": "80"})
    assert "a-team" in shown.output
    assert "…" not in shown.output
    (key,) = map(json.loads, CliRunner().invoke(app, ["keys", "list", "--json", *home]).stdout.splitlines())
    assert (key["name"], key["budget_usd"]) == ("a-team", 5.0)
    (row,) = csv.DictReader(io.StringIO(CliRunner().invoke(app, ["keys", "list", "--csv", *home]).stdout))
    assert row["key_id"] == key["key_id"]
    assert "secret" not in key


#: Commands that read what there is, or measure it, and tell it in tables or lists.
READERS = {
    *("doctor", "evaluate", "experts check", "gaps", "keys list", "ledger check", "sql", "traffic evaluate"),
    *("forge gaps", "teams list", "usage"),
    "prices update",
    *("traffic report", "traffic texts", "universe", "versions", "warehouse check", "warehouse stats"),
}
#: Commands that act, and what for: they say what they did, or write what they found to a file.
ACTORS = {
    "warehouse compact": "merges files",
    "ask": "puts a question to the endpoint",
    "chat": "talks to it",
    "demo": "runs a round and serves",
    "experts add": "makes a version",
    "experts drain": "takes an expert out of service",
    "experts reload": "has the catalogue read again",
    "experts resume": "puts an expert back into service",
    "experts retire": "makes a version",
    "export": "writes a file",
    "forge close": "makes a specialist, and a version",
    "forge plan": "trains a probe",
    "forge run": "makes a specialist",
    "forge test": "asks a specialist, and keeps the figures",
    **dict.fromkeys((f"import {kind.name}" for kind in IMPORTERS), "fills tables"),
    "import questions": "fills tables",
    "import recorded": "fills tables",
    "judge": "asks a judge, and fills tables",
    "keys create": "makes a key",
    "keys revoke": "ends a key",
    "keys rotate": "gives a key a new secret",
    "keys set": "changes a key",
    "ledger migrate": "moves the ledger",
    "maintenance": "closes and opens the endpoint",
    "learn": "asks experts, and makes a version",
    "promote": "makes a version champion",
    "report": "writes a page",
    "rollback": "makes a version champion",
    "route": "writes decisions to a file, as JSON lines or Parquet",
    "selfplay": "runs rounds",
    "serve": "serves",
    "teams create": "makes a team",
    "teams remove": "ends a team",
    "teams set": "changes a team",
    "traffic expire": "removes texts",
    "traffic forget": "removes texts and rows",
    "traffic import": "fills tables",
    "traffic make-key": "makes a key",
    "train": "makes a version",
    "ui": "opens MLflow",
    "universe apply": "changes the pool in use",
}


def commands():
    """Every command of the parser that does something by itself, with its options."""

    def walk(command, path):
        members = getattr(command, "commands", {})
        if path and (not members or command.invoke_without_command):
            yield " ".join(path), {option for each in command.params for option in each.opts}
        for name, member in members.items():
            yield from walk(member, [*path, name])

    return dict(walk(get_command(app), []))


def test_every_command_reads_or_acts_and_readers_speak_json_and_csv():
    found = commands()
    assert set(found) == READERS | set(ACTORS)
    assert not READERS & set(ACTORS)
    assert {name for name in READERS if not {"--json", "--csv"} <= found[name]} == set()


def test_readers_give_programs_nothing_but_rows(tmp_path):
    home = ["--home", str(tmp_path)]
    CliRunner().invoke(app, ["keys", "create", "=cmd|'/c'!A0", "--operator", *home])
    CliRunner().invoke(app, ["teams", "create", "=cmd|'/c'!A0", *home])
    for command in (
        *("keys list", "ledger check", "traffic texts", "warehouse check", "warehouse stats", "versions"),
        "teams list",
    ):
        said = CliRunner().invoke(app, [*command.split(), "--csv", *home])
        rows = list(csv.DictReader(io.StringIO(said.stdout)))
        assert all(None not in row and None not in row.values() for row in rows), command
        assert rows or command in ("ledger check", "warehouse check", "versions")
    said = CliRunner().invoke(app, ["sql", "select 1 as one", "--json", *home]).stdout
    assert json.loads(said) == {"one": 1}
    said = CliRunner().invoke(app, ["warehouse", "check", "--json", *home]).stdout
    assert all(json.loads(line)["table"] for line in said.splitlines())
