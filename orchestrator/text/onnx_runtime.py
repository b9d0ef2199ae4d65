"""ONNX Runtime as we use it: one thread per session, no usage reports, no files left in ``/tmp``."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, with its telemetry off.

    Since 1.2x its builds for Linux report the use of sessions to Microsoft, and note the identity of the
    reporting session in a file ``.ses`` of the temporary folder while they are imported. There is no
    setting for that file's place but ``TMPDIR``: it goes into a folder that ends with the import.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="leeroo-onnx-", ignore_cleanup_errors=True) as aside:
        os.environ["TMPDIR"] = aside
        try:
            import onnxruntime
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
        loaded: ModuleType = onnxruntime
        loaded.disable_telemetry_events()
    return loaded


def open_session(model: Path) -> Any:
    """Return an ``InferenceSession`` of a model on the CPU; texts run side by side, each on one thread."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
