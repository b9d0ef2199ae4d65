import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

from synthetic import make_outcomes

from orchestrator import train_router


@pytest.fixture(scope="session")
def outcomes():
    return make_outcomes(missing=0.1)


@pytest.fixture(scope="session")
def orchestrator(outcomes):
    return train_router(outcomes, embedder="wordllama").orchestrator
