"""``leeroo ask`` and ``leeroo chat``: words with the running endpoint."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import httpx

    from warehouse.errors import InputError

UrlOption = Annotated[str, typer.Option(envvar="LEEROO_URL", help="Address of the endpoint.")]
KeyOption = Annotated[
    str | None, typer.Option(envvar="LEEROO_KEY", help="API key, if the endpoint asks for one.")
]
ModelOption = Annotated[str, typer.Option(help="leeroo, leeroo:<preset>, or an expert.")]
DEFAULT_URL = "http://127.0.0.1:8000"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("ask")(ask)
    app.command("chat")(chat)


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = None,
    model: ModelOption = "leeroo",
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Exclude experts that are expected to cost more, in USD.")
    ] = None,
    min_success: Annotated[
        float | None, typer.Option(help="Prefer experts with at least this expected success.", min=0, max=1)
    ] = None,
) -> None:
    """Ask the running endpoint; show the answer, who gave it, and the forecast."""
    limits = {"max_cost_usd": max_cost_usd, "min_success": min_success}
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    _say(url, key, body | {name: value for name, value in limits.items() if value is not None})


def chat(url: UrlOption = DEFAULT_URL, key: KeyOption = None, model: ModelOption = "leeroo") -> None:
    """Chat with the running endpoint, turn by turn; an empty line ends the chat."""
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            return
        if not said:
            return
        messages.append({"role": "user", "content": said})
        messages.append(
            {"role": "assistant", "content": _say(url, key, {"model": model, "messages": messages})}
        )


def _say(url: str, key: str | None, body: dict[str, Any]) -> str:
    """Send a conversation, print the answer as it comes and what is told of it; return the answer."""
    import json

    import httpx

    from pipelines.commands.terminal.console import Terminal
    from warehouse.errors import InputError

    console = Terminal()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.rstrip('/')}/v1/chat/completions"
    text, told = "", None
    try:
        with httpx.stream(
            "POST", address, json=body | {"stream": True}, headers=headers, timeout=300
        ) as reply:
            if reply.is_error:
                reply.read()
                fix = "pass --key or set LEEROO_KEY; `leeroo keys create NAME` makes one"
                raise InputError(_message(reply), where=url, fix=fix if reply.status_code == 401 else None)
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                try:
                    piece = json.loads(line.removeprefix("data: "))
                    if "error" in piece:
                        raise InputError(piece["error"]["message"], where=url)
                    told = piece.get("leeroo") or told
                    said = piece["choices"][0]["delta"].get("content") if piece["choices"] else None
                    part = str(said or "")
                except InputError:
                    raise
                except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                    raise _stranger(url) from error
                if part:
                    console.print(part if text else part.lstrip(), end="")
                    text += part
    except httpx.HTTPError as error:
        raise InputError(
            f"no endpoint answers there ({error})", where=url, fix="start one: leeroo serve"
        ) from None
    if not text and told is None:
        raise _stranger(url)
    console.print()
    if told:
        # An endpoint of another version may tell other things; the answer is what counts.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            console.print(_facts(told), style="dim")
    return text


def _stranger(url: str) -> InputError:
    """Somebody answers, in words that this version does not know."""
    from warehouse.errors import InputError

    return InputError(
        "what answers there is no endpoint of this version",
        where=url,
        fix="give the address of one with --url or LEEROO_URL, or start one: leeroo serve",
    )


def _message(reply: httpx.Response) -> str:
    """Return what a refusal says, whoever it comes from."""
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}, and not from an endpoint of ours"


def _facts(told: dict[str, Any]) -> str:
    facts = [f"{told['latency_s']:.2f} s"]
    if "cost_usd" in told:
        expected = f" (expected ${told['predicted_cost_usd']:.3g})" if "predicted_cost_usd" in told else ""
        facts.insert(0, f"cost ${told['cost_usd']:.3g}{expected}")
    if "predicted_success" in told:
        facts.insert(0, f"expected success {told['predicted_success']:.2f}")
    return f"answered by {told['expert']}: {told['reason']}\n{', '.join(facts)}"
