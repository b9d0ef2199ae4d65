"""What is wrong with an endpoint's settings, told before anything starts."""

from __future__ import annotations

from experts import load_catalogue
from serve.config import ServeConfig, is_loopback
from serve.router.champion import tracking_uri
from warehouse import InputError


def check_settings(config: ServeConfig) -> None:
    """Look at what can be told from the settings alone, without Ray and without loading a router.

    Raises:
        InputError: it would be open to a network, or there is no such catalogue or no trained router.
    """
    if config.access == "open" and not is_loopback(config.host):
        raise InputError(
            f"an endpoint open to all may not listen on {config.host}",
            fix="use --host 127.0.0.1, or make keys: leeroo keys create NAME",
        )
    load_catalogue(config.catalogue)
    if config.router_dir is None:
        tracking_uri(config)
