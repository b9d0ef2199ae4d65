"""The keyed hashes of the traffic, and the key's file."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse import CannotRunError
from warehouse.traffic.hashing import keyed_hash, read_hash_key

KEYS = st.binary(min_size=32, max_size=32)


@given(key=KEYS, other=KEYS, text=st.text(), another=st.text())
def test_a_hash_is_of_its_key_its_kind_and_its_text(
    key: bytes, other: bytes, text: str, another: str
) -> None:
    first = keyed_hash(key, "text", text)
    assert first == keyed_hash(key, "text", text)
    assert len(first) == 32
    assert (first == keyed_hash(key, "text", another)) == (text == another)
    assert (first == keyed_hash(other, "text", text)) == (key == other)
    assert first != keyed_hash(key, "user", text)


def test_a_home_has_one_key_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: read_hash_key(tmp_path / "home"), range(32)))
    assert len(keys) == 1
    (path,) = (tmp_path / "home/traffic").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    read_hash_key(tmp_path)
    (tmp_path / "traffic/hash.key").write_bytes(content)
    with pytest.raises(CannotRunError, match="bytes"):
        read_hash_key(tmp_path)
