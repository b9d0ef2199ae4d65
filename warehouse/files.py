"""Files that are there whole or not at all, on local disk or an object store, by one code path."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from warehouse.errors import InputError
from warehouse.reachable import check_url, without_password

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: Schemes of stores that write a name only if it is free.
_CONDITIONAL = frozenset({"s3", "gs", "gcs"})


class FileStore:
    """A folder of files addressed by their path below its root.

    Args:
        url: a local path, a pyarrow.fs URL (``s3://``, ``gs://``, ``file://``) or any fsspec URL.

    Raises:
        InputError: the URL's scheme is unknown.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self.filesystem, self.root = _open_filesystem(self.url)
        self.is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        self._store: ObjectStore | None = None  # opened when first needed
        self._opening = threading.Lock()

    def _conditional(self) -> ObjectStore | None:
        """The object store as one that puts on a condition; None where it is of no kind that can."""
        if self.is_local or urlsplit(self.url).scheme not in _CONDITIONAL:
            return None
        with self._opening:
            if self._store is None:
                self._store = _open_conditional(self.url, self.root)
        return self._store

    def path(self, name: str) -> str:
        """Return the path of a file as the filesystem knows it."""
        return f"{self.root}/{name}"

    def list(self, folder: str, *, recursive: bool = False) -> dict[str, float]:
        """Return the files below a folder with their time of change (seconds since 1970); empty if none.

        Where a store tells no time, it is now: nothing there counts as left behind.
        """
        now_s = time.time()
        selector = pafs.FileSelector(self.path(folder), recursive=recursive, allow_not_found=True)
        return {
            info.path[len(self.root) + 1 :]: info.mtime.timestamp() if info.mtime else now_s
            for info in self.filesystem.get_file_info(selector)
            if info.is_file
        }

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        with self.filesystem.open_input_stream(self.path(name)) as stream:
            return bytes(stream.read())

    def read_end(self, name: str, size: int) -> bytes:
        """Return a file's last bytes, all of them where it has fewer."""
        with self.filesystem.open_input_file(self.path(name)) as stream:
            whole = stream.size()
            stream.seek(max(whole - size, 0))
            return bytes(stream.read(min(size, whole)))

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file whole or not at all, and for good once this returns.

        On disk it is written beside, flushed to the device and renamed; on an object store it is one put.
        """
        target = self.path(name)
        if not self.is_local:
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(data)
            return
        folder = Path(target).parent
        _make_folder(folder)
        beside = folder / f".{uuid.uuid4().hex}.tmp"
        try:
            with beside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())  # else a power cut may leave the name without the content
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(folder)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file as :meth:`write` does, unless one of that name is there; tell whether it was written.

        Of several writers exactly one gets True: on an object store by a conditional put, on disk inside
        :meth:`lock`. Stores without conditional puts (``memory://`` and others of fsspec) take one writer.
        """
        if (store := self._conditional()) is not None:
            from obstore import put
            from obstore.exceptions import AlreadyExistsError

            try:
                put(store, name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True
        if self.filesystem.get_file_info(self.path(name)).type != pafs.FileType.NotFound:
            return False
        self.write(name, data)
        return True

    def size(self, name: str) -> int:
        """Return a file's bytes; 0 where it is gone."""
        return self.filesystem.get_file_info(self.path(name)).size or 0

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def move(self, name: str, to: str) -> None:
        """Move what stands under a name, a folder too; another name is made up where ``to`` is taken."""
        target = self.path(to)
        if self.is_local:
            _make_folder(Path(target).parent)
        if self.filesystem.get_file_info(target).type != pafs.FileType.NotFound:
            target = f"{target}.{uuid.uuid4().hex[:8]}"
        self.filesystem.move(self.path(name), target)

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Take turns with other processes on this machine; no lock on an object store."""
        if not self.is_local:
            yield
            return
        import filelock

        directory = Path(self.path(folder))
        _make_folder(directory)
        with filelock.FileLock(directory / ".lock"):
            yield


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it so that a power cut does not lose them."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (new names) to the device, where the system can: Windows does it by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_make(path: Path, content: Callable[[], bytes]) -> bytes:
    """Return a small file, made with mode 600 where there is none; all who ask at once get the same, whole.

    Raises:
        OSError: it can be neither read nor made.
    """
    if not path.exists():
        made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(made, path)  # whole, or another's is there
        finally:
            made.unlink(missing_ok=True)
    return path.read_bytes()


def _check_object_store(url: str) -> None:
    """Libraries try for minutes to reach a store that is not there; a moment tells whether it is.

    Raises:
        InputError: nobody answers at its address.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "s3":
        address = _s3_address(options) or "https://s3.amazonaws.com"
    elif parts.scheme in ("gs", "gcs"):
        address = os.environ.get("STORAGE_EMULATOR_HOST") or options.get("endpoint_override") or ""
        address = address or "https://storage.googleapis.com"
        address = address if "://" in address else f"{options.get('scheme', 'https')}://{address}"
    elif parts.scheme in ("http", "https"):
        address = url
    else:
        return
    check_url(
        address,
        f"the object store of {without_password(url).partition('?')[0]}",
        fix="start it, or correct LEEROO_WAREHOUSE or --warehouse; unset, the tables lie in the home",
    )


def _open_conditional(url: str, root: str) -> ObjectStore:
    """Open a bucket for conditional puts, with the address and the credentials that pyarrow uses for it."""
    from obstore.store import GCSStore, S3Store

    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    bucket, _, prefix = root.partition("/")
    if parts.scheme != "s3":
        return GCSStore(bucket, prefix=prefix or None)
    given: dict[str, Any] = {}
    if address := _s3_address(options):
        given |= {"endpoint": address, "client_options": {"allow_http": address.startswith("http://")}}
    if options.get("region"):
        given["region"] = options["region"]
    if parts.username:
        given["access_key_id"] = unquote(parts.username)
        given["secret_access_key"] = unquote(parts.password or "")
    elif "AWS_ACCESS_KEY_ID" not in os.environ and importlib.util.find_spec("boto3"):
        from obstore.auth.boto3 import Boto3CredentialProvider

        given["credential_provider"] = Boto3CredentialProvider()  # profiles too, as pyarrow reads them
    return S3Store(bucket, prefix=prefix or None, **given)


def _s3_address(options: Mapping[str, str]) -> str:
    """The address that a URL or the environment names; empty for Amazon's own."""
    named = options.get("endpoint_override") or next(
        (os.environ[name] for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if os.environ.get(name)), ""
    )
    return named if not named or "://" in named else f"{options.get('scheme', 'https')}://{named}"


def _open_filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in url:
        return pafs.LocalFileSystem(), str(Path(url).expanduser().absolute())
    _check_object_store(url)
    try:
        filesystem, path = pafs.FileSystem.from_uri(url)
        return filesystem, path.rstrip("/")
    except OSError as error:
        raise InputError(
            f"cannot open the warehouse: {str(error).splitlines()[0]}",
            where=without_password(url),
            fix="see that its address, your keys for it and the proxies of the environment are right",
        ) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        import fsspec

        try:
            fsspec_filesystem, path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"cannot open the warehouse: {error}",
                where=without_password(url),
                fix="use a path, s3://..., gs://... or file://...",
            ) from error
        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec_filesystem)), str(path).rstrip("/")
