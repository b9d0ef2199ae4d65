"""Closing a gap as a job: ``ray job submit -- python -m pipelines.forge --home HOME``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.test_ray_job import RAY, jobs_address, submit

__all__ = ["jobs_address"]  # a fixture that is used here as well
pytestmark = [pytest.mark.e2e, pytest.mark.cluster]
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_a_gap_is_worked_on_by_a_job_that_is_given_no_gap(
    gap_home: tuple[Path, Path], jobs_address: str, tmp_path: Path
) -> None:
    """The home alone says which gap; the catalogue is given since the tiny model is in no other."""
    home = Path(shutil.copytree(gap_home[0], tmp_path / "home"))
    job = [sys.executable, "-m", "pipelines.forge", "--home", str(home), "--catalogue", str(gap_home[1])]
    command = [RAY, "job", "submit", "--address", jobs_address, "--working-dir", str(ROOT), "--", *job]
    run = submit(command, 500)
    said = run.stdout + run.stderr
    # A random model of 30,000 parameters learns no sums: the job ends with the plan's refusal.
    assert run.returncode != 0
    assert "the gap that holds most: arithmetic/chain_sum" in said, said[-3000:]
    assert "not closed: it does not pay: no: " in said, said[-3000:]
    record = json.loads((home / "forge" / "arithmetic-chain-sum" / "record.json").read_text())
    assert not record["plan"]["pays"]
    assert json.loads((home / "forge" / "arithmetic-chain-sum" / "spent.json").read_text())["seconds"] > 0
