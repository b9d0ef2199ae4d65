"""The gaps of a home that a specialist could close, those that hold most of the traffic first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.answering.domains import find_domain_gaps, measure_domains
from pipelines.forge.closing.judgement import read_mix_of_kinds
from pipelines.forge.closing.traffic_share import read_traffic_shares
from pipelines.forge.gap import find_target
from pipelines.forge.run import forge_folder
from pipelines.questions.generator import list_generators
from pipelines.selfplay.round_record import RoundRecord
from universe.pool_file import read_pool
from warehouse import NotReadyError, load_outcomes
from warehouse.home import Home


@dataclass(frozen=True)
class OpenGap:
    """A domain in which no expert of the pool beats guessing.

    Attributes:
        name: what the forge calls it; None where no generator makes questions of it.
        domain: of the questions.
        share: part of the traffic, or of the frozen set without traffic.
        told_by: which of these.
        best_expert: in that domain.
        accuracy: of that expert.
        chance: what guessing scores.
        questions: that tell so.
        state: open | begun | closed | refused.
    """

    name: str | None
    domain: str
    share: float
    told_by: str
    best_expert: str
    accuracy: float
    chance: float
    questions: int
    state: str


def list_gaps(home: Home) -> tuple[OpenGap, ...]:
    """The gaps that the answers so far show, the largest part of the traffic first.

    Raises:
        NotReadyError: nothing was answered, or there is no frozen set.
    """
    warehouse = home.warehouse()
    pool = read_pool(home.path)
    outcomes = load_outcomes(warehouse)
    with warehouse.connect() as connection:
        results = measure_domains(connection, outcomes.question_ids.tolist(), pool)
    traffic = read_traffic_shares(home)
    mix = read_mix_of_kinds(home, traffic)
    known = {generator.name for generator in list_generators()}
    pairs = zip(outcomes.domains.tolist(), outcomes.subjects.tolist(), strict=True)
    kinds = {f"{domain}/{subject}" for domain, subject in pairs} & known
    found = []
    for gap in find_domain_gaps(results):
        own = sorted(name for name in kinds if name.split("/")[0] == gap.domain)
        name = None if not own else own[0] if len(own) == 1 else gap.domain
        found.append(
            OpenGap(
                name=name,
                domain=gap.domain,
                share=_share(gap.domain, traffic, mix.shares),
                told_by=mix.told_by,
                best_expert=gap.best_expert,
                accuracy=gap.accuracy,
                chance=gap.chance,
                questions=gap.questions,
                state="open" if name is None else _state(home, name),
            )
        )
    return tuple(sorted(found, key=lambda gap: (-gap.share, gap.domain)))


def choose_gap(home: Home) -> str:
    """Name of the gap that holds most of the traffic and is neither closed nor refused.

    Raises:
        NotReadyError: there is none.
    """
    for gap in list_gaps(home):
        if gap.name is not None and gap.state in ("open", "begun"):
            return gap.name
    raise NotReadyError(
        "no gap that a generator makes questions of is open",
        where=str(home.path),
        fix="name one, or play a round with other domains: `leeroo selfplay --domain NAME`",
    )


def _share(domain: str, traffic: Mapping[str, float], kinds: Mapping[str, float]) -> float:
    if traffic:
        return traffic.get(domain, 0.0)
    return sum(part for name, part in kinds.items() if name.split("/")[0] == domain)


def _state(home: Home, name: str) -> str:
    folder = forge_folder(home, find_target(name))
    record, alone = RoundRecord(folder / "record.json"), RoundRecord(folder / "plan.json")
    if "promotion" in record:
        return "closed" if record["promotion"]["promoted"] else "refused"
    if "plan" in record and not record["plan"]["pays"]:
        return "refused"
    if ("test" in record and record["test"]["refused"]) or ("add" in record and not record["add"]["chosen"]):
        return "refused"
    if "settings" not in record and "plan" in alone and not alone["plan"]["pays"]:
        return "refused"
    return "begun" if "settings" in record else "open"
