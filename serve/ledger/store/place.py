"""Where a ledger lies, and how it is opened there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from experts.upstream.credentials import handed_over
from serve.ledger.store.sqlite_store import KEYS_MARK, MOVED_MARK, SqliteStore
from serve.ledger.store.store import Store
from warehouse import CannotRunError, InputError

LEDGER_FILE = "ledger.db"  # in a home
LEDGER_VARIABLE = "LEEROO_LEDGER"
PASSWORD_VARIABLE = "PGPASSWORD"  # PostgreSQL's own
_SCHEMES = ("postgresql", "postgres")
#: Parameters of libpq that are shown; any other may be a secret, or the end of one with an & in it.
_SHOWN = {
    "host", "hostaddr", "port", "dbname", "user", "passfile", "options", "application_name",
    "client_encoding", "connect_timeout", "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslrootcert",
    "sslcrl", "sslcrldir", "sslsni", "sslcertmode", "sslcompression", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "requirepeer", "requiressl", "require_auth", "channel_binding",
    "gssencmode", "gssdelegation", "gsslib", "krbsrvname", "service", "servicefile",
    "target_session_attrs", "load_balance_hosts", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "tcp_user_timeout", "replication", "fallback_application_name", "oauth_client_id",
    "oauth_issuer", "oauth_scope", "min_protocol_version", "max_protocol_version", "sslkeylogfile",
}  # fmt: skip
_QUOTED = "write @ as %40, / as %2F, ? as %3F, # as %23 and & as %26 within a user, a password or a parameter"


@dataclass(frozen=True)
class PostgresPlace:
    """A PostgreSQL database.

    Attributes:
        shown: the URL without its password, for messages and settings.
        url: the whole URL; it is written nowhere.
    """

    shown: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        """Return what may be shown."""
        return self.shown


Place = Path | PostgresPlace


def ledger_place(home: Path, named: str | None = None) -> Place:
    """Return where the ledger of a home lies: as it is named, else as LEEROO_LEDGER says, else in the home.

    Args:
        home: the folder of an installation.
        named: a URL without a password; the password is that of LEEROO_LEDGER if it names the same
            database, else PostgreSQL's own (PGPASSWORD, or its file of passwords).

    Raises:
        InputError: it is no URL of PostgreSQL, or one is named with its password.
    """
    told = os.environ.get(LEDGER_VARIABLE) or handed_over(LEDGER_VARIABLE)
    if named is None:
        return postgres_place(told, LEDGER_VARIABLE) if told else home / LEDGER_FILE
    place = postgres_place(named, "--ledger")
    if place.url != place.shown:
        raise InputError(
            "a password in an option or a settings file can be read by others",
            where=f"--ledger {place}",
            fix=f"name it without the password, and put that into {LEDGER_VARIABLE} (the whole URL),"
            f" {PASSWORD_VARIABLE} or ~/.pgpass",
        )
    known = postgres_place(told, LEDGER_VARIABLE) if told else place
    return known if known.shown == place.shown else place


def postgres_place(url: str, where: str) -> PostgresPlace:
    """Read a URL.

    Args:
        url: ``postgresql://user:password@host:port/database``, with libpq's parameters after a ``?``.
        where: what names it, for messages.

    Raises:
        InputError: it is none. The message does not repeat it.
    """
    fix = "write postgresql://user@host:5432/database, or leave it out for the file in the home"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InputError("it is no URL", where=where, fix=fix) from None
    if parts.scheme not in _SCHEMES:
        raise InputError("it is no URL of a PostgreSQL database", where=where, fix=fix)
    if parts.netloc.count("@") > 1 or "@" in parts.path + parts.query or "#" in url:
        # PostgreSQL's library may then read a part of the password as a host, which its errors name.
        raise InputError(
            "where its user, password and host end cannot be told",
            where=where,
            fix=_QUOTED,
        )
    if not all("=" in piece for piece in parts.query.split("&") if parts.query):
        raise InputError("a parameter has no value", where=where, fix=_QUOTED)
    user, at, hosts = parts.netloc.rpartition("@")
    told = parse_qsl(parts.query, keep_blank_values=True)
    open_ones = [(name, value) for name, value in told if name in _SHOWN]
    netloc = f"{user.partition(':')[0]}{at}{hosts}"
    if len(open_ones) < len(told) or netloc != parts.netloc:
        shown = parts._replace(netloc=netloc, query=urlencode(open_ones)).geturl()
    else:
        shown = url
    return PostgresPlace(shown, url)


def has_ledger(place: Place) -> bool:
    """Tell whether a ledger was ever there; a database is taken to hold one."""
    if isinstance(place, PostgresPlace):
        return True
    return place.exists() or any(place.with_suffix(mark).exists() for mark in (KEYS_MARK, MOVED_MARK))


def open_store(place: Place) -> Store:
    """Open a ledger; its tables are made where they are not there.

    Raises:
        LeerooError: it is lost, damaged, locked, out of reach or of a newer version, or cannot be written.
    """
    return _open(place, 10.0)


def check_store(place: Place, *, within_s: float = 3.0) -> None:
    """Open a ledger as an endpoint would, and look whether it is whole and can be written.

    Raises:
        LeerooError: it cannot be used. Known within a few seconds.
    """
    store = _open(place, within_s)
    try:
        store.check(within_s=within_s)
    finally:
        store.close()


def _open(place: Place, timeout_s: float) -> Store:
    if isinstance(place, Path):
        return SqliteStore(place, timeout_s=timeout_s)
    try:
        from serve.ledger.store.postgres_store import PostgresStore  # loaded where it is used alone
    except ImportError:
        raise CannotRunError(
            "the program that speaks with PostgreSQL is not installed (psycopg)",
            where=f"ledger {place}",
            fix="pip install 'leeroo-orchestrator[postgres]'",
        ) from None
    password = os.environ.get(PASSWORD_VARIABLE) or handed_over(PASSWORD_VARIABLE)
    return PostgresStore(place.url, place.shown, password=password, lock_timeout_s=timeout_s)
