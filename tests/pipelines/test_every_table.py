"""Every table that any command prints, at 80 columns with hostile content: each cell is read whole."""

import ast
import io
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from experts import probe_hardware
from experts.price_update import Difference, PriceChange
from orchestrator.evaluation import benchmark_table, report_tables
from orchestrator.evaluation.report import EvaluationReport, Measure, PolicyRow
from orchestrator.predictors.base import Prediction
from orchestrator.selection.presets import Preset
from orchestrator.selection.selector import BatchSelection
from orchestrator.versions.mlflow_registry import Version
from orchestrator.versions.traffic_comparison import TrafficComparison
from pipelines.answering.domains import DomainResult
from pipelines.answering.receipt import AnswerReceipt
from pipelines.commands import doctor, ledger, round_tables, route, router
from pipelines.commands.accounts import keys, teams, usage
from pipelines.commands.data import imports, prices
from pipelines.commands.forge import gaps as forge_gaps
from pipelines.commands.terminal import query_output
from pipelines.commands.terminal.console import Terminal
from pipelines.commands.terminal.readable_table import visible
from pipelines.commands.traffic import evaluate, report
from pipelines.diagnosis import Books, Component, Diagnosis, Disk, ExpertCheck
from pipelines.forge.closing.gaps import OpenGap
from pipelines.importing.plan import Found
from pipelines.selfplay.results import RoundResult
from pipelines.traffic.watch import Group as TrafficGroup
from serve.ledger.accounts.keys import KeyRecord
from serve.ledger.accounts.teams import TeamRecord
from serve.ledger.accounts.usage import UsageRecord
from serve.ledger.audit import Audit
from universe.analysis.alternatives import RankedSet, SetByPolicy
from universe.analysis.explain import BindingLimit, MarginalValue
from universe.analysis.frontier import Frontier
from universe.analysis.gaps import GapReport
from universe.model.limits import Limits
from universe.model.prices import Prices
from universe.model.universe import Universe
from universe.report import tables

ROOT = Path(__file__).parents[2]
SOURCES = ("warehouse", "experts", "universe", "orchestrator", "serve", "pipelines")
THE_CONSOLE = "pipelines/commands/terminal/console.py"
#: Not tables of their own: the look of some, a table's other form, and those of the HTML report.
HELPERS = {"narrow_table", "_as_blocks", "table_of", "table_of_columns"}

TEXTS = {
    "long": "helm/google_gemini-1.5-pro-preview-0409-with-a-very-long-name-indeed-" + "x" * 20,
    "words": "what is the number of ways in which eleven distinguishable balls are put into four boxes",
    "markup": "[bold]expert[/bold] [/] [red]:smile: {x} \\[y]",
    "unicode": "模型ア한국어🤖 e\u0301xpert-nai\u0308ve Ωμέγα",
    "controls": "a\x1b[2Jb\x07c\rd\x9bz\te\nf",
    "empty": "",
}
NUMBERS = {"long": 987654321012, "words": 3, "markup": 0, "unicode": 10**15, "controls": 7, "empty": 0}


def make(kind, text, number, depth=0):
    """An instance of a type, made of a text and a number throughout."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return make(next(one for one in of if one is not type(None)), text, number, depth)
    if origin is typing.Literal:
        return of[0]
    if origin is tuple:
        members = of[:1] * 3 if of[-1] is Ellipsis else of
        return tuple(make(one, f"{text}{i or ''}", number, depth + 1) for i, one in enumerate(members))
    if origin in (list, dict, Mapping) or kind in (list, dict):
        if kind is list or origin is list:
            return [make(of[0], text, number, depth + 1)]
        return {f"{text}{i or ''}": make(of[1], text, number, depth + 1) for i in range(3)}
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: make(hints[f.name], text, number, depth + 1) for f in fields(kind) if f.init})
    plain = {
        str: text,
        int: number,
        float: number / 7 or 1e-9,
        bool: bool(number % 2),
        datetime: datetime(2026, 1, 2, tzinfo=UTC),
        Path: Path("/", text.replace("\0", "")),
    }
    return plain.get(kind)


def evaluation(text, number):
    measure = Measure(number / 7, 0.1, number / 3, 0.1)
    names = ("accuracy", "cost_usd", "calls", "latency_s", "headroom_log", "aiq", "aiq_log", "aiq_log_twice")
    names += ("accuracy@0.25", "cost@0.25", "accuracy@1.0", "cost@1.0")
    names += (*benchmark_table.COLUMNS.values(), *benchmark_table.OF_PAIRS.values())
    measures = dict.fromkeys(names, measure)
    rows = [PolicyRow(f"{text}{i}", measures, {}, {}, np.zeros((1, 4))) for i in range(3)]
    rows += [PolicyRow(name, measures, {}, {}, np.zeros((1, 4))) for name in ("best single", "oracle")]
    hints = typing.get_type_hints(EvaluationReport)
    calibration, latency = (typing.get_args(hints[name])[1] for name in ("calibration", "latency"))
    return EvaluationReport(
        experts=(text,) * 40,
        questions=number,
        best_single=text,
        fingerprint="",
        settings={},
        rows=tuple(rows),
        calibration={row.name: make(calibration, text, number) for row in rows},
        latency={row.name: make(latency, text, number) for row in rows},
        replicates={(row.name, name): np.arange(9.0) for row in rows for name in names},
    )


def universe_of(text, number, many=3):
    names = tuple(f"{text}{i}" for i in range(many))
    return Universe(
        experts=names,
        status=text,
        objective=number / 7,
        bound=number / 3,
        wall_s=number / 7,
        expected_score=number / 7,
        expected_cost_usd=number / 7,
        usd_per_hour=number / 7,
        share=dict.fromkeys(names, 1 / many),
        replicas=dict.fromkeys(names, number),
        prices=Prices(number / 7),
        left_out=names,
        dominated={},
        questions=number,
        limits=Limits(),
        price_weight=0.0,
    )


def routing(text, number):
    names = tuple(f"{text}{i}" for i in range(5))
    prediction = Prediction(names, np.full((4, 5), 0.5, np.float32), np.full((4, 5), number / 7))
    return prediction, BatchSelection(np.array([0, 1, 2, 2]), 2.0, number / 7, 0.5, 2.5, 0.1), 1.0


def comparison(text, number):
    found = make(TrafficComparison, text, number)
    return replace(found, versions=(text, f"{text}2"))


#: What makes each table, and what it makes it of.
TABLES = {
    "query_table": lambda t, n: query_output.query_table(
        pa.table({t or "x": [t, None], "a number": [n, None], "share": [n / 7, 1e-300], "list": [[t], []]})
    ),
    "key_table": lambda t, n: keys.key_table([make(KeyRecord, t, n)] * 2),
    "team_table": lambda t, n: teams.team_table([make(TeamRecord, t, n)] * 2),
    "usage_table": lambda t, n: usage.usage_table([make(UsageRecord, t, n)] * 2),
    "gap_table": lambda t, n: forge_gaps.gap_table([make(OpenGap, t, n)] * 2),
    "books_table": lambda t, n: ledger.books_table(make(Audit, t, n)),
    "version_table": lambda t, n: router.version_table([make(Version, t, n)]),
    "routing_table": lambda t, n: route.routing_table(*routing(t, n)),
    "component_table": lambda t, n: doctor.component_table(diagnosis(t, n)),
    "machine_table": lambda t, n: doctor.machine_table(diagnosis(t, n)),
    "doctor.expert_table": lambda t, n: doctor.expert_table(diagnosis(t, n)),
    "domain_table": lambda t, n: round_tables.domain_table([make(DomainResult, f"{t}{i}", n) for i in "ab"]),
    "round_tables.expert_table": lambda t, n: round_tables.expert_table(
        [make(DomainResult, t, n)], [make(AnswerReceipt, t, n)]
    ),
    "purchase_table": lambda t, n: round_tables.purchase_table([make(RoundResult, t, n)], n / 7),
    "price_table": lambda t, n: prices.price_table(
        [PriceChange(t, t, None, (Difference(t, n / 7, None),) * 2)]
    ),
    "import_table": lambda t, n: imports.import_table([make(Found, t, n)] * 2),
    "group_table": lambda t, n: report.group_table(t, [make(TrafficGroup, t, n)]),
    "comparison_table": lambda t, n: evaluate.comparison_table(
        comparison(t, n).overall, comparison(t, n).versions
    ),
    "difference_table": lambda t, n: evaluate.difference_table(comparison(t, n), t),
    "render_universe": lambda t, n: tables.render_universe(universe_of(t, n)),
    "render_marginal_values": lambda t, n: tables.render_marginal_values([make(MarginalValue, t, n)]),
    "render_binding": lambda t, n: tables.render_binding([make(BindingLimit, t, n)]),
    "render_frontier": lambda t, n: tables.render_frontier(
        Frontier("max_cost_usd", (n / 7, 1.0), (universe_of(t, n, 30), None))
    ),
    "render_sets": lambda t, n: tables.render_sets(
        [make(RankedSet, t, n)] * 2, [make(SetByPolicy, t, n)] * 2, (f"{t}0",)
    ),
    "render_gaps": lambda t, n: tables.render_gaps(make(GapReport, t, n)),
    "render_report": lambda t, n: report_tables.render_report(evaluation(t, n)),
    "render_pairs": lambda t, n: report_tables.render_pairs(evaluation(t, n)),
    "render_presets": lambda t, n: report_tables.render_presets({t: make(Preset, t, n), "b": Preset(1.0)}),
    "render_details": lambda t, n: benchmark_table.render_details(evaluation(t, n)),
}


def diagnosis(text, number):
    experts = tuple(ExpertCheck(f"{text}{i}", text, text, ((text, text),)) for i in range(3))
    return Diagnosis(
        python=text,
        machine=text,
        components=(Component(text, text, text, required=True), Component(text, text, None, required=False)),
        embedders=(),
        hardware=probe_hardware(),
        disks=(Disk(text, Path("/", text), number / 7),),
        catalogue=Path("/", text),
        experts=experts,
        front=text,
        recording=text,
        books=Books(number / 7),
    )


def tables_of(content):
    if isinstance(content, Group):
        return [table for part in content.renderables for table in tables_of(part)]
    return [content] if isinstance(content, Table) else []


def plain_of(cell):
    return visible(cell.plain if isinstance(cell, Text) else cell)


def letters(text):
    """Without spaces, line ends and what tables are drawn with."""
    return re.sub(r"[\s─-╿]", "", text)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_read_whole_at_80_columns(name, kind):
    content = TABLES[name](TEXTS[kind], NUMBERS[kind])
    found = tables_of(content)
    assert found, "no table"
    cells = [
        plain_of(cell)
        for table in found
        for column in table.columns
        for cell in (column.header, *column.cells)
    ]
    cells += [plain_of(part) for table in found for part in (table.title, table.caption) if part]
    screen = io.StringIO()
    Terminal(file=screen, width=80).print(content)
    said = screen.getvalue()
    assert max(Text(line).cell_len for line in said.splitlines()) <= 80
    assert not set(said) & set(map(chr, (*range(10), *range(11, 32), *range(0x7F, 0xA0))))
    assert said.count("…") == "".join(cells).count("…")
    for cell in cells:
        for word in cell.split():
            if Text(word).cell_len <= 40:
                assert word in said, (word, said)
    assert len(letters(said)) >= len(letters("".join(cells)))
    assert not {x: n for x, n in count(cells).items() if letters(said).count(x) < n}


def count(cells):
    text = letters("".join(cells))
    return {letter: text.count(letter) for letter in set(text)}


def calls_of(names):
    """Where something of these names is called: ``(file, function)``, functions in functions left out."""
    found = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                    inner = [one for one in ast.walk(outer) if isinstance(one, ast.Call)]
                    if any(getattr(one.func, "id", getattr(one.func, "attr", "")) in names for one in inner):
                        found.add((str(path.relative_to(ROOT)), getattr(outer, "name", "")))
    return found


def test_no_table_is_forgotten():
    made = {name for _, name in calls_of({"Table", "narrow_table", "table_of_columns"}) if name} - HELPERS
    assert made == {name.rpartition(".")[2] for name in TABLES}


def test_nothing_is_printed_by_another_console():
    """`Terminal` makes tables fit; whatever prints by itself could cut them."""
    assert {path for path, _ in calls_of({"Console", "get_console"})} == set()
    direct = {
        str(path.relative_to(ROOT))
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(from rich import|import rich\b|rich\.print)", path.read_text(), re.M)
    }
    assert direct == set()
    assert "class Terminal(Console)" in (ROOT / THE_CONSOLE).read_text()
