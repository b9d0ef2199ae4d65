"""What the rounds of a run share. Runs and rounds hold it; a step is given the values that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.questions.sources.opening import Sources
from pipelines.ray_session import Connection
from pipelines.selfplay.events import Tell
from pipelines.selfplay.panel import Panel
from pipelines.selfplay.round_record import RoundFolder
from pipelines.selfplay.settings import SelfplaySettings
from warehouse import Warehouse
from warehouse.home import Home


@dataclass(frozen=True)
class RunContext:
    """The values of a run, each made once; see :func:`pipelines.selfplay.run.open_selfplay`."""

    settings: SelfplaySettings
    home: Home
    warehouse: Warehouse
    panel: Panel
    sources: Sources
    rounds: RoundFolder
    connection: Connection
    tell: Tell
