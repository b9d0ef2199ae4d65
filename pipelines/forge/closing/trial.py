"""A specialist's test on questions that nothing was learned from, and whether it may go on."""

from __future__ import annotations

from pathlib import Path

from experts.catalogue_file import Catalogue
from pipelines.forge.closing.compare import (
    CLOSED,
    FORGETTING,
    Comparison,
    compare_specialist,
    other_questions,
)
from pipelines.forge.closing.settings import CloseSettings
from pipelines.forge.gap import TargetGap
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import Forged, forge_folder, learned_questions
from pipelines.forge.training_questions import TEST_SEEDS, held_out_questions
from pipelines.selfplay.round_record import RoundRecord, Step
from warehouse import NotReadyError
from warehouse.home import Home


def try_specialist(
    home: Home, gap: TargetGap, known: Catalogue, forged: Forged, settings: CloseSettings
) -> Step:
    """Test the specialist against its base on questions that nothing was learned from; as JSON holds it."""
    base = known.get(settings.forge.base)
    held_out = held_out_questions(
        gap, settings.held_out, seed=TEST_SEEDS[0], unlike=learned_questions(home, gap), allow_fewer=True
    )
    others = other_questions(home.warehouse().scan("questions"), gap, settings.elsewhere, seed=TEST_SEEDS[0])
    verdict = compare_specialist(base, forged.specialist.folder, held_out, others, settings.forge.recipe)
    return {
        "gap": verdict.gap.record,
        "levels": [level.record for level in verdict.levels],
        "elsewhere": verdict.elsewhere.record,
        "gap_line": f"{verdict.gap.specialist}, base {verdict.gap.base}",
        "elsewhere_line": f"{verdict.elsewhere.difference} against the base's {verdict.elsewhere.base}",
        "refused": why_refused(verdict),
        "training_usd": forged.trained["spent_s"] / 3600 * settings.cap.usd_per_hour,
    }


def try_made(
    home: Home, gap: TargetGap, known: Catalogue, *, held_out: int, elsewhere: int, threads: int = 0
) -> Comparison:
    """Test the specialist that this home has made for a gap, on questions of other draws than its own test.

    Raises:
        NotReadyError: none was made.
    """
    record = RoundRecord(forge_folder(home, gap) / "record.json")
    if "train" not in record:
        raise NotReadyError(
            f"no specialist was made for {gap.name!r}",
            where=str(home.path),
            fix=f"leeroo forge run {gap.name}",
        )
    made = record["settings"]
    recipe = TrainRecipe(dtype=made["recipe"]["dtype"], threads=threads)
    return compare_specialist(
        known.get(made["base"]),
        Path(record["train"]["adapter"]),
        held_out_questions(
            gap, held_out, seed=TEST_SEEDS[1], unlike=learned_questions(home, gap), allow_fewer=True
        ),
        other_questions(home.warehouse().scan("questions"), gap, elsewhere, seed=TEST_SEEDS[1]),
        recipe,
    )


def why_refused(verdict: Comparison) -> str | None:
    """Why a specialist goes no further, with the figures; None: it may."""
    if not verdict.is_closed:
        return f"the gap is not closed: {verdict.gap.specialist}, {CLOSED:.2f} is asked for"
    if verdict.forgets:
        return f"it forgets: {verdict.elsewhere.difference} elsewhere, -{FORGETTING:.2f} is allowed"
    return None
