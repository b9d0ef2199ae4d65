"""Who takes part in a run: who answers, who grades, who writes questions and who validates them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse import CannotRunError, InputError

if TYPE_CHECKING:
    from experts import Catalogue, ExpertSpec


@dataclass(frozen=True)
class Panel:
    """The experts of a run, by what they do in it."""

    experts: tuple[ExpertSpec, ...]  # who answer and are routed to
    judge: ExpertSpec | None  # who grades what no rule can; answers nothing
    writer: ExpertSpec | None  # who writes questions for gaps
    validators: tuple[ExpertSpec, ...]  # who must agree with the writer
    origin: Path  # the catalogue

    @property
    def names(self) -> list[str]:
        """Names of the experts who answer."""
        return [spec.name for spec in self.experts]


def seat(catalogue: str | None, *, judge: str | None = None, writer: str | None = None) -> Panel:
    """Load the catalogue, see that everyone can be asked here, and give each a part.

    A judge answers nothing: nobody grades their own answers. A writer answers as the others do, but does not
    validate what it has written, unless too few are left.

    Raises:
        InputError: a bad catalogue, an expert that cannot be asked here (named, with the fix), or one that
            is not listed.
    """
    known = load_runnable(catalogue)
    experts = known.experts
    judging = None
    if judge is not None:
        judging = known.get(judge)
        experts = tuple(spec for spec in experts if spec.name != judge)
        if len(experts) < 2:
            raise InputError(
                f"beside the judge {judge!r} there is one expert, which leaves nothing to route",
                where=str(known.path),
                fix="list two more; a model that judges and answers is listed under two names",
            )
    writing, validators = None, experts
    if writer is not None:
        if writer == judge:
            raise InputError(
                f"{writer!r} cannot judge and write", where="--writer", fix="name two experts for it"
            )
        writing = known.get(writer)
        others = tuple(spec for spec in experts if spec.name != writer)
        validators = others if len(others) > 1 else experts
    return Panel(experts, judging, writing, validators, known.path)


def load_runnable(path: str | None) -> Catalogue:
    """Load the catalogue and see that every expert's model is there and can run, before any work.

    Raises:
        InputError: a bad catalogue.
        CannotRunError: an expert that cannot be asked here (named, with the fix).
    """
    from experts import check_loadable, check_runnable, load_catalogue, probe_hardware
    from experts.backends.registry import kind_of

    catalogue = load_catalogue(path)
    answering = tuple(spec for spec in catalogue.experts if "chat" in spec.offers)
    catalogue = replace(catalogue, experts=answering)
    hardware = probe_hardware()
    for spec in catalogue.experts:
        where = f"{catalogue.path}, expert {spec.name!r}"
        if not kind_of(spec).can_be_asked:
            raise InputError(
                "recorded experts cannot be asked new questions", where=where, fix="leave it out"
            )
        # On a cluster the GPUs are on other machines; Ray waits for them and says so.
        for problem in check_runnable(spec, hardware) if spec.resources.num_gpus == 0 else ():
            raise CannotRunError(problem.what, where=where, fix=problem.fix)
        check_loadable(spec, where=where)
    if len(catalogue.experts) < 2:
        raise InputError(
            "one expert leaves nothing to route", where=str(catalogue.path), fix="list two or more"
        )
    return catalogue
