"""The benchmark of sizes runs, and draws what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.scale import main


def test_small_sizes_run_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    work.mkdir()
    sizes = ["--rows", "0,3e3", "--answers", "2e3", "--questions", "500", "--trained", "400"]
    main([*sizes, "--out", str(out), "--folder", str(work)])
    said = capsys.readouterr().out
    for part in ("append", "outcomes", "decide", "train"):
        assert part in said
        found = json.loads((out / f"{part}.json").read_text())
        assert all(value >= 0 for row in found for value in row.values())
        assert (out / f"{part}.svg").stat().st_size > 1_000
    assert [row["size"] for row in json.loads((out / "append.json").read_text())] == [0, 3000]
    assert list(work.iterdir()) == []  # what lay on the disk is gone
