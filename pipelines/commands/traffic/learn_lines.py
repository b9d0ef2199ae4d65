"""What a round of learning tells, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from pipelines.traffic.events import (
    Calibrated,
    ChallengerTested,
    ChallengerTrained,
    Graded,
    LearnDone,
    Need,
    NothingToLearn,
    Sampled,
    ShadowsCame,
    TrafficRead,
)


@singledispatch
def lines_of(event: object) -> Iterator[str]:
    """A line for each thing that an event says."""
    raise TypeError(f"no line for {event!r}")


@lines_of.register
def _(event: TrafficRead) -> Iterator[str]:
    yield (
        f"Round {event.round}{' goes on' if event.is_resumed else ''}: {event.requests:,} requests are"
        f" recorded, {event.with_texts:,} with texts, {event.with_feedback:,} have feedback."
    )
    if not event.with_texts:
        yield (
            "No text is kept, so nothing can be asked again: only what feedback says of the answers that were"
            " given can be learned. `leeroo serve --record texts` keeps texts."
        )


@lines_of.register
def _(event: Need) -> Iterator[str]:
    if event.reasons:
        yield f"Something has drifted: {'; '.join(event.reasons)}."
    else:
        yield "Nothing speaks for drift: no request is asked again (--if-needed)."


@lines_of.register
def _(event: Sampled) -> Iterator[str]:
    asked = ", ".join(f"{name} {count:,}" for name, count in event.asked.items())
    if event.requests:
        yield (
            f"{event.requests:,} requests are asked again ({asked}), expected to cost"
            f" ${event.expected_usd:.6g} with their verdicts."
        )


@lines_of.register
def _(event: ShadowsCame) -> Iterator[str]:
    for one in event.receipts:
        if one.asked or one.reused or one.unasked:
            yield (
                f"  {one.expert}: {one.asked:,} answered, {one.reused:,} had been, {one.failed:,} failed,"
                f" ${one.cost_usd:.6g}"
            )
        if one.problem:
            yield f"  {one.unasked:,} questions to {one.expert} stay open: {one.problem}"


@lines_of.register
def _(event: Graded) -> Iterator[str]:
    by = ", ".join(f"{count:,} by {name}" for name, count in event.by.items()) or "none"
    yield f"Answers graded now: {by}; {event.open:,} have no score."
    for one in event.judge:
        if one.problem:
            yield f"  {one.unasked:,} questions to the judge stay open: {one.problem}"


@lines_of.register
def _(event: Calibrated) -> Iterator[str]:
    judge = event.calibration
    yield (
        f"Judge and users agree on {judge.agreement:.0%} [{judge.agreement_low:.0%},"
        f" {judge.agreement_high:.0%}] of {judge.pairs:,} answers that both have scored."
    )


@lines_of.register
def _(event: ChallengerTrained) -> Iterator[str]:
    state = "trained" if event.is_new else "had been trained on exactly this"
    yield (
        f"Router version {event.version} {state}: {event.questions:,} questions, {event.traffic:,} requests"
        f" asked again, {event.labels:,} labels of users and graders."
    )


@lines_of.register
def _(event: NothingToLearn) -> Iterator[str]:
    yield f"No challenger: {event.why}"


@lines_of.register
def _(event: ChallengerTested) -> Iterator[str]:
    standing = event.standing
    told = "promoted" if standing.promoted else "refused"
    yield f"Version {standing.version} {standing.verdict} ({told})"


@lines_of.register
def _(event: LearnDone) -> Iterator[str]:
    yield f"Round {event.round} is done and cost ${event.cost_usd:.6g}."
