"""Where an expert's API is, and the way there: path, proxy, certificates."""

from __future__ import annotations

import ipaddress
import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from experts.catalogue.spec import ExpertSpec

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_OPENAI = "https://api.openai.com/v1"
CHAT, TEXT, EMBEDDINGS, RERANK = _PATHS = ("/chat/completions", "/completions", "/embeddings", "/rerank")


def url_of(spec: ExpertSpec, path: str = CHAT) -> str:
    """Return the address that a request is sent to; what follows a ``?`` in ``base_url`` is kept.

    >>> from experts.catalogue.pricing import Price
    >>> price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    >>> spec = ExpertSpec(name="a", backend="openai", model="m", price=price, base_url="http://h/v1/?api-version=2")
    >>> url_of(spec)
    'http://h/v1/chat/completions?api-version=2'
    """
    parts = urlsplit(spec.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI)
    base = parts.path.rstrip("/")
    for ending in _PATHS:  # people copy the whole address from a vendor's page
        base = base.removesuffix(ending)
    return urlunsplit((parts.scheme, parts.netloc, base + path, parts.query, ""))


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address; None for the loopback, always."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass_environment(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies_environment()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{found}" if found and "://" not in found else found


def find_way(url: str) -> tuple[URL, URL | None, aiohttp.BasicAuth | None]:
    """Return an address as it is called, the proxy on the way to it, and who we are to that."""
    import aiohttp
    from yarl import URL

    found = proxy_of(url)
    proxy, login = URL(found) if found else None, None
    if proxy is not None and proxy.user:
        login = aiohttp.BasicAuth(proxy.user, proxy.password or "")
        proxy = proxy.with_user(None)
    return URL(url, encoded=True), proxy, login


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context() -> ssl.SSLContext:
    """Return the certificates to trust: the system's, and certifi's where that is installed."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        try:
            certifi: Any = __import__("certifi")
            context.load_verify_locations(certifi.where())
        except (ImportError, OSError):
            pass
    return context
