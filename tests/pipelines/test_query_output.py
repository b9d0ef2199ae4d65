"""What `leeroo sql` prints is what the query found."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipelines.cli import app
from warehouse import InputError


def sql(home: Path, query: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["sql", query, "--home", str(home), *options])


ODD = """
select 3.21e-7::double / 7 as small, 1.5e-12::double as tiny, sum(length(x)) as total, 0.3::float as short,
    'nan'::double as nothing, '-inf'::double as least, null::int as missing, [1.0, 'nan'::double] as listed,
    1.25::decimal(5, 2) as exact, 5 as twice, 6 as twice, timestamptz '2026-01-02 03:04:05+00' as at
from (values ('Rome'), ('Paris is here')) t(x)
"""


def test_json_has_every_digit_and_every_column(tmp_path: Path) -> None:
    (row,) = map(json.loads, sql(tmp_path, ODD, "-o", "json").output.splitlines())
    assert (row["small"], row["tiny"]) == (3.21e-7 / 7, 1.5e-12)
    assert (row["total"], row["short"], row["exact"]) == (17, 0.3, 1.25)
    assert (row["nothing"], row["least"], row["missing"], row["listed"]) == (None, None, None, [1.0, None])
    assert (row["twice"], row["twice_2"]) == (5, 6)
    assert row["at"] == "2026-01-02T03:04:05+00:00"


def test_csv_has_every_digit_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    header, row = csv.reader(io.StringIO(sql(tmp_path, ODD, "-o", "csv").output))
    found = dict(zip(header, row, strict=True))
    assert float(found["small"]) == 3.21e-7 / 7
    assert (found["total"], found["short"], found["missing"], found["exact"]) == ("17", "0.3", "", "1.25")
    assert json.loads(found["listed"]) == [1.0, None]
    assert [value for name, value in zip(header, row, strict=True) if name == "twice"] == ["5", "6"]
    nullable = sql(tmp_path, "select * from (values (5), (null)) t(x)", "-o", "csv").output
    assert nullable.splitlines() == ["x", "5", '""']


def test_a_table_shows_columns_of_one_name(tmp_path: Path) -> None:
    shown = sql(tmp_path, "select 5 as twice, 6 as twice, 'x' as twice").output
    assert [word for word in shown.split() if word in ("5", "6", "x")] == ["5", "6", "x"]


def test_what_fails_while_it_runs_is_one_message(tmp_path: Path) -> None:
    failed = sql(tmp_path, "select cast(x as int) from (values ('Rome')) t(x)")
    assert isinstance(failed.exception, InputError)
    assert "Rome" in str(failed.exception)
    with pytest.raises(InputError, match="nothing"):
        CliRunner().invoke(app, ["sql", "select nothing", "--home", str(tmp_path)], catch_exceptions=False)
