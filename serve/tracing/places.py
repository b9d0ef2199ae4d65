"""The destinations of traces: MLflow's store, an OTLP receiver, or both."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from serve.config import ServeConfig
from warehouse import InputError

MLFLOW, OTLP = "mlflow", "otlp"
_OTLP = "OTEL_EXPORTER_OTLP_"
_PROTOCOL = "http/protobuf"
#: Variables of OpenTelemetry that count; the headers, and an address, may hold a key.
VARIABLES = (
    *(
        f"{_OTLP}{part}{name}"
        for part in ("", "TRACES_")
        for name in (
            *("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"),
            *("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"),
        )
    ),
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
)


def trace_destinations(config: ServeConfig) -> tuple[str, ...]:
    """Return the destinations of the settings, else MLflow and the receiver that the environment names.

    Raises:
        InputError: a destination is not valid, or the environment asks for an unsupported protocol.
    """
    named = config.trace_to or ((MLFLOW, OTLP) if otlp_endpoint() else (MLFLOW,))
    for one in named:
        if one not in (MLFLOW, OTLP) and not _is_address(one):
            raise InputError(
                "this is not a destination for traces",
                where=f"--trace-to {_without_key(one)}",
                fix=f"give {MLFLOW}, {OTLP} (what {_OTLP}ENDPOINT names), or the http address of a receiver",
            )
    endpoint = otlp_endpoint()
    if OTLP in named and endpoint is None:
        raise InputError(
            "no trace receiver is named",
            where=f"--trace-to {OTLP}",
            fix=f"export {_OTLP}ENDPOINT=http://host:4318, or give its address instead",
        )
    if OTLP in named and endpoint is not None and not _is_address(endpoint):
        raise InputError(
            f"{_without_key(endpoint)} is not the address of a trace receiver",
            where=f"{_OTLP}ENDPOINT",
            fix="write it as http://host:4318",
        )
    protocol = otlp_variable("PROTOCOL") or _PROTOCOL
    if set(named) != {MLFLOW} and protocol != _PROTOCOL:
        raise InputError(
            f"traces are exported by {_PROTOCOL} only, not by {protocol}",
            where=f"{_OTLP}PROTOCOL",
            fix=f"unset it, and name the receiver's port for HTTP (usually 4318) in {_OTLP}ENDPOINT",
        )
    return tuple(dict.fromkeys(named))


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:  # a port or a bracket that is none
        return False


def _without_key(address: str) -> str:
    """Return what may be shown of an address that is none: nothing before an @ or after a question mark."""
    return address.rpartition("@")[2].partition("?")[0][:40]


def otlp_endpoint() -> str | None:
    """Return the receiver's address that the environment names."""
    return otlp_variable("ENDPOINT")


def otlp_variable(name: str) -> str | None:
    """Return a variable of OpenTelemetry's OTLP exporters; that for traces takes precedence."""
    return os.environ.get(f"{_OTLP}TRACES_{name}") or os.environ.get(f"{_OTLP}{name}") or None
