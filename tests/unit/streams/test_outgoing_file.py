"""Files that are read to be sent."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from sipsimple.streams.msrp.outgoing_file import OutgoingFile

DATA = bytes(range(250))


def read_all(file: OutgoingFile, size: int = 100) -> bytes:
    return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_part_is_read_wherever_the_file_stands(tmp_path: Path, in_memory: bool):
    (tmp_path / "file").write_bytes(DATA)
    with BytesIO(DATA) if in_memory else (tmp_path / "file").open("rb") as file:
        file.seek(77)
        one, other = OutgoingFile(file, 10, 240), OutgoingFile(file)
        assert one.read(100) + other.read(100) == DATA[10:110] + DATA[:100]
        assert read_all(one) == DATA[110:240]
        assert read_all(other) == DATA[100:]
        assert one.read(100) == other.read(100) == b""
        assert OutgoingFile.size_of(file) == len(DATA)
        if not in_memory:
            assert file.tell() == 77


def test_when_it_was_changed(tmp_path: Path):
    (tmp_path / "file").write_bytes(DATA)
    os.utime(tmp_path / "file", (1000.5, 1000.5))
    with (tmp_path / "file").open("rb") as file:
        assert OutgoingFile.modified(file) == datetime.fromtimestamp(1000, UTC)
    assert OutgoingFile.modified(BytesIO()) is None


def test_a_closed_file_is_not_another_one(tmp_path: Path):
    (tmp_path / "file").write_bytes(DATA)
    file = (tmp_path / "file").open("rb")
    reading = OutgoingFile(file)
    file.close()
    with (tmp_path / "file").open("rb"), pytest.raises(ValueError, match="closed"):
        reading.read(10)
