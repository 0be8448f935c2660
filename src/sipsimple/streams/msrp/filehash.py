"""Hashes of files as file selectors carry them (RFC 5547 6, RFC 8122 5): `sha-1:72:24:5F:...`, and their making.

SHA-1 is what RFC 5547 knows; SHA-256 goes beside it for peers that look for it. A file is hashed in threads, a step
at a time, so that neither the loop nor a pool of threads is held for long, and that cancelling is enough to give up.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["BLOCK_SIZE", "STEP_SIZE", "Hasher", "hash_blocks", "parse_hash"]

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes read at a time."""
STEP_SIZE: Final = 8 * BLOCK_SIZE
"""Bytes hashed in one visit to a thread, after which progress is told."""

_DIGEST_SIZES: Final = {"sha-1": 20, "sha-256": 32}
_SPELLINGS: Final = {"sha1": "sha-1", "sha-1": "sha-1", "sha256": "sha-256", "sha-256": "sha-256"}
_HASH: Final = re.compile(r"(?:hash:)?([A-Za-z0-9-]{1,32}):([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,127})")


def parse_hash(text: str) -> tuple[str, str]:
    """The algorithm and the canonical text of a hash, `sha1` and lower case understood; raises ValueError."""
    match = _HASH.fullmatch(text)
    algorithm = None if match is None else _SPELLINGS.get(match[1].lower())
    if match is None or algorithm is None:
        raise ValueError(f"{text[:80]!r} is no hash such as sha-1:72:24:5F:...")
    if len(match[2]) != 3 * _DIGEST_SIZES[algorithm] - 1:
        raise ValueError(f"a {algorithm} hash has {_DIGEST_SIZES[algorithm]} bytes, not as {text[:120]!r}")
    return algorithm, f"{algorithm}:{match[2].upper()}"


class Hasher:
    """Computes several hashes of the same bytes; by default all that are known here."""

    def __init__(self, algorithms: Iterable[str] = tuple(_DIGEST_SIZES)) -> None:
        self._digests = {name: hashlib.new(name.replace("-", ""), usedforsecurity=False) for name in algorithms}

    def update(self, data: bytes) -> None:
        """Add bytes."""
        for digest in self._digests.values():
            digest.update(data)

    def text(self, algorithm: str) -> str:
        """The hash of what was added, as `sha-1:72:24:...`."""
        return f"{algorithm}:{self._digests[algorithm].digest().hex(':').upper()}"


async def hash_blocks(read: Callable[[int], bytes], on_progress: Callable[[int], None]) -> Hasher:
    """Hash what `read` gives until it gives nothing; it is called in threads, `on_progress` with a count of bytes here.

    Cancelling waits for nobody: a block that is being read then is dropped.
    """
    hasher, done = Hasher(), 0
    while hashed := await asyncio.to_thread(_hash_step, read, hasher):
        done += hashed
        on_progress(done)
    return hasher


def _hash_step(read: Callable[[int], bytes], hasher: Hasher) -> int:
    hashed = 0
    while hashed < STEP_SIZE and (block := read(BLOCK_SIZE)):
        hasher.update(block)
        hashed += len(block)
    return hashed
