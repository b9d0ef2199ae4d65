"""``leeroo serve``: the endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption, LedgerOption
from serve.wire.recording import Recording
from serve.wire.session_header import SESSION_HEADER
from warehouse import InputError
from warehouse.home import Home, warehouse_elsewhere
from warehouse.traffic.retention import DEFAULT_DAYS

CacheKind = Literal["off", "exact", "semantic"]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("serve")(serve)


def serve(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue file; the default one if not given.")
    ] = None,
    expert: Annotated[
        list[str] | None, typer.Option(help="Expert to serve instead of the pool; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    open_access: Annotated[
        bool, typer.Option("--open", help="Ask for no key: anyone on this machine may ask (loopback only).")
    ] = False,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Also record what the challenger would decide, without acting on it."),
    ] = False,
    canary_share: Annotated[
        float, typer.Option(help="Share of the queries that the challenger decides (a canary).", min=0, max=1)
    ] = 0.0,
    auto: Annotated[
        bool,
        typer.Option("--auto", help="Promote or stop the challenger once its canary is conclusive."),
    ] = False,
    record: Annotated[
        Recording,
        typer.Option(
            help="What is kept of a request beside its cost: none, features (no text) or texts; a key or a "
            "request (store: false) may want less."
        ),
    ] = "features",
    keep_texts_days: Annotated[
        int, typer.Option(help="Days that recorded texts are kept.", min=0)
    ] = DEFAULT_DAYS,
    texts_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the key that seals texts; else LEEROO_TEXTS_KEY. Without, they are plain."
        ),
    ] = None,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact", help="Take addresses, numbers and the like out of texts before they are kept."
        ),
    ] = False,
    session_header: Annotated[
        str, typer.Option(help="Header that names a client's session, which stays with its expert; '' none.")
    ] = SESSION_HEADER,
    session_by_user: Annotated[
        bool, typer.Option("--session-by-user", help="Let the requests of one `user` be a session too.")
    ] = False,
    cache: Annotated[
        CacheKind,
        typer.Option(help="Answers given again: off, exact (same request), semantic (same meaning too)."),
    ] = "off",
    cache_ttl_s: Annotated[float, typer.Option(help="Seconds for which they are.", min=0.001)] = 300.0,
    cache_mb: Annotated[float, typer.Option(help="Room for them in each ingress.", min=1)] = 64.0,
    cache_sampled: Annotated[
        bool, typer.Option("--cache-sampled", help="Also answers drawn at a temperature above 0.")
    ] = False,
    cache_similarity: Annotated[
        float, typer.Option(help="Cosine from which on two questions mean the same.", min=0.8, max=1)
    ] = 0.95,
    explore_share: Annotated[
        float,
        typer.Option(
            help="Share of the requests whose expert is drawn at random, to learn about it.", min=0, max=1
        ),
    ] = 0.0,
    explore_usd_per_day: Annotated[
        float, typer.Option(help="Maximum extra cost of exploring per day.", min=0)
    ] = 1.0,
    explore_temperature: Annotated[
        float,
        typer.Option(help="Temperature of the draw: an expert worth this much less is drawn 1/e as often."),
    ] = 0.1,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Trace requests: their steps as spans, in MLflow's pages (leeroo ui)."),
    ] = False,
    trace_share: Annotated[
        float, typer.Option(help="Share of the requests that are traced.", min=0, max=1)
    ] = 1.0,
    trace_to: Annotated[
        list[str] | None,
        typer.Option(
            help="Where traces go: mlflow, otlp (what OTEL_EXPORTER_OTLP_ENDPOINT names) or the http address "
            "of an OTLP receiver; may be repeated."
        ),
    ] = None,
    drain_s: Annotated[
        float,
        typer.Option(
            help="Seconds that requests in flight may take to finish when the endpoint is stopped.", min=0
        ),
    ] = 30.0,
    front: Annotated[
        str,
        typer.Option(help="HTTP front: haproxy, python (Ray Serve's proxy) or auto."),
    ] = "auto",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Network (CIDR) of a proxy before this endpoint that is believed to tell clients' addresses"
            " (X-Forwarded-For); may be repeated."
        ),
    ] = None,
    ingress_replicas: Annotated[
        int,
        typer.Option(help="Processes that take requests; on a cluster they spread over the nodes.", min=1),
    ] = 1,
    node_label: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE: label of the cluster nodes that see the home; the endpoint itself runs "
            "there alone. May be repeated."
        ),
    ] = None,
    write_config: Annotated[
        Path | None,
        typer.Option(help="Write a configuration file for `serve deploy` instead of starting anything."),
    ] = None,
) -> None:
    """Serve the champion and its experts behind OpenAI's API until Ctrl-C or SIGTERM.

    Then nobody new is let in, requests under way finish within --drain-s, and the books are settled. A second
    Ctrl-C ends all at once.
    """
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import one_line
    from pipelines.ray_session import joins_cluster, log_folder, serving_session
    from serve.checks import check_machine, check_settings
    from serve.config import ServeConfig

    console = Terminal()
    place = Home.open(home)
    settings: dict[str, Any] = {"home": place.path, "catalogue": catalogue, "host": host, "port": port}
    settings |= {"experts": tuple(expert) if expert else None, "access": "open" if open_access else "keys"}
    settings |= {"warehouse_url": warehouse_elsewhere(), "ledger": ledger}
    settings |= {"record": record, "explore_share": explore_share, "auto_promote": auto}
    settings |= {"keep_texts_days": keep_texts_days, "texts_key_file": texts_key_file, "redact": redact}
    settings |= {"explore_usd_per_day": explore_usd_per_day, "explore_temperature": explore_temperature}
    settings |= {"ingress_replicas": ingress_replicas, "node_labels": _read_labels(node_label or ())}
    settings |= {"cache": cache, "cache_ttl_s": cache_ttl_s, "cache_mb": cache_mb}
    settings |= {"cache_sampled": cache_sampled, "cache_similarity": cache_similarity}
    settings |= {"session_header": session_header, "session_by_user": session_by_user}
    settings |= {"trace": trace, "trace_share": trace_share, "trace_to": tuple(trace_to or ())}
    settings |= {"trusted_proxies": tuple(trusted_proxy or ())}
    config = ServeConfig.parse(
        settings | {"shadow": shadow, "canary_share": canary_share, "drain_s": drain_s, "front": front}
    )
    if write_config is not None:
        from serve.deploying import write_deploy_config

        write_deploy_config(config, write_config)
        console.print(f"Written. On a running cluster: serve deploy {write_config}")
        return
    check_settings(config)  # before Ray starts, which takes a while
    if not joins_cluster():
        check_machine(config)
    with serving_session(config, tell=console.print):
        from serve.run import APP_NAME, start_serving, stop_serving
        from serve.stopping import StopSignal, close_books, drain_serving

        with console.status("starting the experts (half a minute each on a CPU)") as status:
            url = start_serving(
                config,
                on_status=lambda parts: status.update(
                    one_line(", ".join(f"{name} {s.lower()}" for name, s in parts.items()), console)
                ),
            )
        console.print(f"Ready: {url}/v1")
        console.print("It takes any OpenAI client, with model leeroo. Ctrl-C stops it.")
        if not open_access:
            console.print("It asks for a key: `leeroo keys create NAME` makes one.")
        if (logs := log_folder()) is not None:
            console.print(f"Ray and vLLM log to {logs} while it runs.")
        with StopSignal() as stop:
            stop.wait()
            with console.status("stopping") as status:
                drained = drain_serving(
                    config,
                    APP_NAME,
                    lambda under_way: status.update(f"stopping: {under_way} requests under way"),
                )
                stop_serving()
                close_books(config, drained)
            console.print("stopped")


def _read_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE``.

    Raises:
        InputError: one of them is something else.
    """
    labels = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not (name and is_pair and value):
            raise InputError(f"{pair!r} is no label", where="--node-label", fix="write NAME=VALUE")
        labels[name] = value
    return labels
