"""What an expert's API takes, refuses and can do, found by asking it a few tiny questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from experts.catalogue.dialect import Dialect
from experts.catalogue.spec import ExpertSpec
from experts.upstream.checking.abilities import probe_abilities
from experts.upstream.client import UpstreamClient
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.request import Ask, ask_of
from experts.upstream.stream import Piece
from experts.upstream.usage import Usage
from warehouse import CannotRunError, InputError

_QUESTION = [{"role": "user", "content": "Reply with the word yes."}]
_MOST_TOKENS = 16
_LONGEST_S = 60.0
#: Fields that callers send, with values that change little.
_OPTIONS: dict[str, Any] = {
    "top_p": 0.9,
    "seed": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stop": ["\n\n\n"],
    "user": "leeroo",
}
_ADVICE = {
    FailureKind.CREDENTIALS: "look at the key that `api_key_env:` names",
    FailureKind.ACCOUNT_EMPTY: "top up the account",
    FailureKind.MODEL_GONE: "look at `model:` and `base_url:`",
    FailureKind.UNREACHABLE: "look at `base_url:`, and whether the server runs",
    FailureKind.TIMEOUT: "raise `timeout_s:`, or look at the server",
    FailureKind.MALFORMED: "look at `base_url:`: it should end where `/chat/completions` begins",
    FailureKind.BUSY: "wait, or lower `concurrency:` and set `requests_per_min:`",
}


@dataclass
class CheckResult:
    """What was found about one expert.

    Attributes:
        expert: its name.
        works: whether it answers at all.
        notes: a sentence for each finding.
        lines: lines to add to its entry in the catalogue.
    """

    expert: str
    works: bool = False
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


async def check_expert(
    spec: ExpertSpec, connect: Callable[[ExpertSpec], UpstreamClient] = UpstreamClient
) -> CheckResult:
    """Ask an API expert some tiny questions and tell what it refuses, counts and streams, and what it can do.

    Abilities that its entry states are not asked for. Costs about a thousand tokens. What is refused is never
    billed.

    Args:
        spec: the expert.
        connect: makes the client of its API.
    """
    found = CheckResult(spec.name)
    try:
        client = connect(spec)
    except (InputError, CannotRunError) as error:
        found.notes.append(f"it cannot be asked: {error}")
        return found
    try:
        await _check(client, found)
    finally:
        await client.aclose()
    if found.works:
        await _check_abilities(connect(spec), found)
    return found


async def _check_abilities(client: UpstreamClient, found: CheckResult) -> None:
    spec = client.spec
    try:
        abilities = await probe_abilities(client)
    finally:
        await client.aclose()
    for answer, words in (("yes", "it can do"), ("no", "it cannot do")):
        if names := [name for name, said in abilities.items() if said == answer]:
            found.notes.append(f"{words}: {', '.join(names)}")
    if abilities.get("reasoning_effort") == "no":
        # It is a wish, which an answer is not worse without; a stated no would send such requests elsewhere.
        found.notes.append("reasoning_effort is left out for it; state it as no to have others asked instead")
        del abilities["reasoning_effort"]
    stated = spec.capabilities.model_dump(exclude_defaults=True)
    if abilities:
        inside = {name: _flow(value).replace('"', "") for name, value in (stated | abilities).items()}
        told = ", ".join(f"{name}: {value}" for name, value in inside.items())
        found.lines.append(f"capabilities: {{{told}}}")


async def _check(client: UpstreamClient, found: CheckResult) -> None:
    spec = client.spec
    answer = await client.answer(_ask(spec), _LONGEST_S)
    if isinstance(answer, Failure):
        advice = _ADVICE.get(answer.kind, "")
        found.notes.append(f"it does not answer: {answer.message}{f'; {advice}' if advice else ''}")
        return
    found.works = True
    found.notes.append(f"it answers; {_describe_usage(answer.usage)}")
    if answer.is_unfinished:
        found.notes.append(
            f"it thinks before it answers: {_MOST_TOKENS} tokens were not enough; mind `max_tokens:`"
        )
    await _check_options(client, found)
    if spec.scoring == "letter":
        await _check_logprobs(client, found)
    await _check_stream(client, found)
    if (line := _dialect_line(spec.dialect, client.dialect)) is not None:
        found.notes.append(f"it refuses {_differences(spec.dialect, client.dialect)}")
        found.lines.append(line)


async def _check_options(client: UpstreamClient, found: CheckResult) -> None:
    options = dict(_OPTIONS)
    while options:
        answer = await client.answer(_ask(client.spec, **options), _LONGEST_S)
        if not isinstance(answer, Failure):
            return
        if answer.kind is not FailureKind.REFUSED_PARAMETER or answer.param not in options:
            found.notes.append(f"asked with {', '.join(options)} it fails: {answer.message}")
            return
        found.notes.append(f"it refuses {answer.param}: callers who send it are told so, or another answers")
        del options[answer.param]


async def _check_logprobs(client: UpstreamClient, found: CheckResult) -> None:
    answer = await client.answer(_ask(client.spec, logprobs=True, top_logprobs=5, max_tokens=1), _LONGEST_S)
    if isinstance(answer, Failure):
        found.notes.append(f"it gives no log-probabilities: {answer.message}")
    elif not (answer.body["choices"][0]["logprobs"] or {}).get("content"):
        found.notes.append("it takes logprobs, and gives none")
    else:
        found.notes.append("it gives log-probabilities")
        return
    found.lines.append("scoring: generate")


async def _check_stream(client: UpstreamClient, found: CheckResult) -> None:
    stream = await client.open_stream(_ask(client.spec), _LONGEST_S)
    if isinstance(stream, Failure):
        found.notes.append(f"it does not stream: {stream.message}")
        return
    pieces = [item async for item in stream]
    if isinstance(pieces[-1], Failure):
        found.notes.append(f"its stream breaks off: {pieces[-1].message}")
        return
    shown = sum(1 for item in pieces if isinstance(item, Piece) and item.shows)
    found.notes.append(f"it streams ({shown} pieces); {_describe_usage(stream.usage)}")


def _ask(spec: ExpertSpec, **fields: Any) -> Ask:
    return ask_of(spec, {"messages": _QUESTION, "max_tokens": _MOST_TOKENS} | fields)


def _describe_usage(usage: Usage) -> str:
    if usage.is_estimated and usage.claimed:
        return f"its token counts cannot be ({usage.claimed}), so they are counted here"
    if usage.is_estimated:
        return "it tells no token counts, so they are counted here"
    told = f"it tells {usage.prompt_tokens} tokens read and {usage.completion_tokens} written"
    if usage.reasoning_tokens:
        told += f", {usage.reasoning_tokens} of them thoughts"
    return f"{told}, {'cached ones too' if usage.tells_cached else 'no cached ones'}"


def _differences(before: Dialect, after: Dialect) -> str:
    dropped = [name for name in after.drop if name not in before.drop]
    renamed = [
        f"{ours} (it wants {theirs})"
        for ours, theirs in after.rename.items()
        if before.rename.get(ours) != theirs
    ]
    return ", ".join([*renamed, *dropped])


def _dialect_line(before: Dialect, after: Dialect) -> str | None:
    """Return the line for the catalogue, with what it says already; None where nothing was learned."""
    if after == before:
        return None
    inside = [f"preset: {after.preset}"] if after.preset else []
    inside += (
        [f"rename: {{{', '.join(f'{ours}: {theirs}' for ours, theirs in after.rename.items())}}}"]
        if after.rename
        else []
    )
    inside += [f"drop: [{', '.join(after.drop)}]"] if after.drop else []
    kept = after.model_dump(exclude_defaults=True, exclude={"preset", "rename", "drop"})
    inside += [f"{name}: {_flow(value)}" for name, value in kept.items()]
    return f"dialect: {{{', '.join(inside)}}}"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    import json

    return json.dumps(value)
