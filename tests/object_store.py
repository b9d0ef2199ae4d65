"""An S3-compatible server that a test starts, and that its processes are pointed to by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pafs
import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def object_store(bucket: str) -> Iterator[str]:
    """Start one with a bucket; yield ``host:port``. Its keys are in the environment meanwhile."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        started.start()
        host, port = started.get_host_and_port()
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        address = f"{host}:{port}"
        pafs.S3FileSystem(scheme="http", endpoint_override=address, allow_bucket_creation=True).create_dir(
            bucket
        )
        yield address
        started.stop()
