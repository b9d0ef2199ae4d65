"""The settings of a running endpoint: the place of its state, the experts it serves, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from experts import ExpertSpec, load_catalogue
from experts.backends.registry import kind_of
from orchestrator.selection.exploration import DEFAULT_TEMPERATURE
from serve.wire.addresses import read_address, read_network
from serve.wire.recording import Recording
from serve.wire.session_header import SESSION_HEADER
from universe.pool_file import POOL_NAME, read_pool
from warehouse import InputError
from warehouse.home import default_path
from warehouse.traffic.retention import DEFAULT_DAYS

_TAKEN_HEADERS = {
    *("accept", "authorization", "cache-control", "connection", "content-length", "content-type", "cookie"),
    *("expect", "host", "origin", "traceparent", "transfer-encoding", "user-agent", "x-api-key"),
}
_SETTLING_S = 60.0  # more than the ingress takes to reach a bookkeeper that is starting again


class ServeConfig(BaseModel):
    """Everything :func:`serve.app.build` reads. ``serve run serve.app:build home=...`` sets them too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default_factory=default_path, description="directory with all state")
    catalogue: Path | None = Field(None, description="catalogue file; the default one when not given")
    experts: tuple[str, ...] | None = Field(
        None, description="experts to serve; the pool file's, else the champion's, when not given"
    )
    tracking_uri: str | None = Field(None, description="MLflow; the home's own store when not given")
    warehouse_url: str | None = Field(
        None, description="tables: LEEROO_WAREHOUSE's, else the home's own, when not given"
    )
    ledger: str | None = Field(
        None,
        description="keys and money: URL of a PostgreSQL database, without its password; LEEROO_LEDGER's, "
        "else the file in the home, when not given",
    )
    router_dir: Path | None = Field(
        None, description="serve this saved orchestrator instead of the registry's champion"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="networks (CIDR) of proxies before this endpoint whose X-Forwarded-For is believed, for "
        "keys that may be used from some networks only",
    )
    front: Literal["auto", "haproxy", "python"] = Field(
        "auto",
        description="the proxy before the ingresses: HAProxy, Ray Serve's proxy in Python, or "
        "auto: HAProxy if it runs here; on a running cluster, the one that it was started with",
    )
    deadline_s: float = Field(
        120.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds within which a request is answered, starts streaming, or is refused",
    )
    longest_stream_s: float = Field(
        600.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after its first piece within which a stream ends or is cut off",
    )
    drain_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds in which requests under way may finish when the endpoint is stopped",
    )
    max_in_flight: int = Field(
        256, ge=1, description="requests that an ingress works on at once; more get 429"
    )
    max_body_bytes: int = Field(
        1_000_000, ge=1_000, description="largest request in bytes; larger ones get 413"
    )
    access: Literal["auto", "keys", "open"] = Field(
        "auto",
        description="keys: no key, no answer; open: anyone on this machine; auto: open until there is a key, "
        "on a loopback address only",
    )
    record: Recording = Field(
        "features",
        description="what is kept of a request besides its cost: none, features (no text), texts; a key or "
        "a request may ask for less",
    )
    keep_texts_days: int = Field(
        DEFAULT_DAYS, ge=0, le=36_500, description="days that recorded texts are kept"
    )
    texts_key_file: Path | None = Field(
        None,
        description="file with the key that seals recorded texts; else LEEROO_TEXTS_KEY has it, and without "
        "one they are not encrypted",
    )
    redact: bool = Field(
        False, description="remove personal data of a known format from texts before they are written"
    )
    session_header: str = Field(
        SESSION_HEADER,
        pattern=r"^[A-Za-z0-9_-]{0,100}$",
        description="header that names a client's session, which stays with its expert; empty: none does",
    )
    session_by_user: bool = Field(
        False, description="whether the requests of one `user` are a session too, where no header names one"
    )
    cache: Literal["off", "exact", "semantic"] = Field(
        "off",
        description="answers that are given again: to the same request of the same key, or also to one whose"
        " last question means the same",
    )
    cache_ttl_s: float = Field(
        300.0, gt=0, le=30 * 86_400, description="seconds for which an answer is given again"
    )
    cache_mb: float = Field(
        64.0, ge=1, le=65_536, description="room for such answers in each ingress, in megabytes"
    )
    cache_sampled: bool = Field(
        False, description="whether answers drawn at a temperature above 0 are given again too"
    )
    cache_similarity: float = Field(
        0.95,
        ge=0.8,
        le=1,
        description="cosine of the router's embeddings from which on two questions mean the same",
    )
    explore_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the routed requests whose expert is drawn at random, to learn about it",
    )
    explore_temperature: float = Field(
        DEFAULT_TEMPERATURE,
        gt=0,
        allow_inf_nan=False,
        description="temperature of the softmax over net value for that draw, in points of success",
    )
    explore_usd_per_day: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="limit per day (UTC) on the extra cost of exploring, compared with the best choices",
    )
    feedback_window_s: float = Field(
        600.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds within which the traffic goes to the warehouse, 30 if more is "
        "given; feedback is taken at any time",
    )
    poll_champion_s: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="seconds between looks for a new champion"
    )
    shadow: bool = Field(
        False, description="let the challenger decide too; its decisions are recorded but not followed"
    )
    canary_share: float = Field(
        0.0, ge=0, le=1, description="share of the queries that the challenger decides"
    )
    auto_promote: bool = Field(
        False,
        description="promote or stop the challenger automatically once its canary is decided; "
        "`leeroo rollback` undoes a promotion",
    )
    trace: bool = Field(False, description="trace requests: the steps of each as OpenTelemetry spans")
    trace_share: float = Field(
        1.0, ge=0, le=1, description="share of the requests that are traced, unless their callers decide"
    )
    trace_to: tuple[str, ...] = Field(
        (),
        description="where traces go: mlflow, otlp (the receiver that OTEL_EXPORTER_OTLP_ENDPOINT names), or "
        "an http address; when not given: mlflow, and otlp if that is set",
    )
    ingress_replicas: int = Field(
        1, ge=1, description="processes that take HTTP requests, spread over the nodes"
    )
    node_labels: dict[str, str] = Field(
        default_factory=dict,
        description="labels of the nodes that may get a part of the endpoint (ingress, router, bookkeeper), "
        "all of which have to see the home; experts have labels of their own",
    )
    home_mark: str | None = Field(None, description="mark of the home; set when the endpoint is built")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, told: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(read_network(one)) for one in told)

    @field_validator("session_header")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name.lower() in _TAKEN_HEADERS:
            raise ValueError(f"the header {name!r} says something else; name another for sessions")
        return name

    @property
    def longest_request_s(self) -> float:
        """Seconds that no request takes: until then its reservation is held."""
        return self.deadline_s + self.longest_stream_s + _SETTLING_S

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Check fields that came from a command line or a YAML file.

        Raises:
            InputError: a field is unknown or its value does not fit.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as failure:
            error = failure.errors()[0]
            field = ".".join(map(str, error["loc"]))
            known = ", ".join(cls.model_fields)
            raise InputError(
                f"{error['msg'].lower()}, got {error['input']!r}",
                where=f"endpoint settings, field {field}",
                fix=f"the fields are {known}",
            ) from None


def served_experts(config: ServeConfig, known: tuple[str, ...]) -> tuple[ExpertSpec, ...]:
    """Return the experts to start: those named, else the pool's, else those the champion knows.

    Experts that offer no chat are in no pool: unless experts are named, the catalogue's are all started.

    Raises:
        InputError: an expert is not in the catalogue or is a recording, or the champion knows none of them.
    """
    catalogue = load_catalogue(config.catalogue)
    pool = read_pool(config.home) if (config.home / POOL_NAME).exists() else ()
    names = config.experts or pool or known
    others = () if config.experts else (spec.name for spec in catalogue.experts if "chat" not in spec.offers)
    specs = tuple(catalogue.get(name) for name in dict.fromkeys((*names, *others)))
    for spec in specs:
        if not kind_of(spec).can_be_asked:
            raise InputError(
                f"expert {spec.name!r} is a recording, which cannot answer new questions",
                where=str(catalogue.path),
                fix="choose a pool of vllm and openai experts (`leeroo universe apply`), or pass --expert",
            )
    if not {spec.name for spec in specs} & set(known):
        raise InputError(
            f"the champion knows none of the experts to serve ({', '.join(spec.name for spec in specs)})",
            fix=f"train on them, or serve experts it knows: {', '.join(known)}",
        )
    return specs


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return read_address(host).is_loopback
    except ValueError:
        return host == "localhost"
