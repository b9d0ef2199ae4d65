"""ONNX Runtime leaves nothing in the temporary folder, and one file alone imports it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    code = "from orchestrator.text.onnx_runtime import load_onnxruntime as load; load(); load()"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []


def test_it_is_imported_by_one_file_alone() -> None:
    importing = re.compile(r"^\s*(import|from) onnxruntime\b(?!\.quantization)", re.MULTILINE)
    rooms = ("orchestrator", "pipelines", "serve", "experts", "universe", "warehouse")
    files = [
        path for room in rooms for path in (ROOT / room).rglob("*.py") if importing.search(path.read_text())
    ]
    assert [path.name for path in files] == ["onnx_runtime.py"]
