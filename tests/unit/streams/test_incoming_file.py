"""The store of files that are coming in."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.streams.msrp import incoming_file
from sipsimple.streams.msrp.filehash import Hasher
from sipsimple.streams.msrp.fileselector import FileSelector
from sipsimple.streams.msrp.incoming_file import PARTS, FileMismatch, FileUnwritable, IncomingFile

DATA = bytes(range(256)) * 40


def selector_of(data: bytes, name: str = "data.bin") -> FileSelector:
    selector = FileSelector(name, size=len(data))
    hasher = Hasher()
    hasher.update(data)
    selector.set_hashes(hasher)
    return selector


def parts(directory: Path) -> list[Path]:
    return sorted((directory / PARTS).glob("*")) if (directory / PARTS).exists() else []


def test_a_file_is_nowhere_to_be_seen_until_it_is_whole(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path / "new", selector_of(DATA))
    incoming.write([(0, DATA[:5000]), (5000, DATA[5000:])])
    assert [path.name for path in (tmp_path / "new").iterdir()] == [PARTS]
    path = incoming.finish()
    assert path == str(tmp_path / "new" / "data.bin")
    assert Path(path).read_bytes() == DATA
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data.bin"]


def test_an_empty_file(tmp_path: Path):
    path = IncomingFile.open(tmp_path, selector_of(b"")).finish()
    assert Path(path).read_bytes() == b""


def test_a_file_of_which_nothing_was_announced(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, FileSelector())
    incoming.write([(0, b"abc")])
    assert Path(incoming.finish()).read_bytes() == b"abc"


def test_what_is_there_is_never_overwritten(tmp_path: Path):
    (tmp_path / "data.bin").write_bytes(b"precious")
    (tmp_path / "data (1).bin").symlink_to(tmp_path / "elsewhere")
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA)])
    assert incoming.finish() == str(tmp_path / "data (2).bin")
    assert (tmp_path / "data.bin").read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


def test_without_links_in_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "data.bin").write_bytes(b"precious")
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA)])
    assert incoming.finish() == str(tmp_path / "data (1).bin")
    assert (tmp_path / "data (1).bin").read_bytes() == DATA
    assert (tmp_path / "data.bin").read_bytes() == b"precious"


def test_a_file_system_that_moves_nothing_keeps_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        patch.setattr(os, "replace", refuse)
        with pytest.raises(FileUnwritable, match="cannot store the file: Input/output error"):
            incoming.finish()
    assert os.listdir(tmp_path) == [PARTS]
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    assert again.offset == len(DATA) - 1
    again.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no flock on Windows")
def test_without_locks_in_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(incoming_file.fcntl, "flock", flock)
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA)])
    assert Path(incoming.finish()).read_bytes() == DATA


def test_the_name_of_a_stranger_stays_in_the_directory(tmp_path: Path):
    directory = tmp_path / "inside"
    incoming = IncomingFile.open(directory, selector_of(b"x", "../../outside/.profile"))
    incoming.write([(0, b"x")])
    assert incoming.finish() == str(directory / "profile")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_an_interrupted_transfer_is_continued(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:3000])])
    incoming.close()
    incoming.close()
    again = IncomingFile.open(tmp_path, selector_of(DATA, "another name"))
    assert again.offset == 3000
    again.write([(3000, DATA[3000:])])
    assert Path(again.finish()).read_bytes() == DATA
    assert parts(tmp_path) == []


def test_a_gap_is_where_the_next_transfer_goes_on(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:100]), (200, DATA[200:300])])
    incoming.close()
    assert parts(tmp_path)[0].stat().st_size == 100


def test_when_only_the_move_was_missing_one_byte_is_asked_for_again(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA)])
    incoming.close()
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    assert again.offset == len(DATA) - 1
    again.write([(again.offset, DATA[-1:])])
    assert Path(again.finish()).read_bytes() == DATA


def test_a_sender_that_begins_anew_is_followed(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, b"\0" * 3000)])
    incoming.close()
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    again.restart()
    again.write([(0, DATA)])
    assert Path(again.finish()).read_bytes() == DATA


def test_a_part_is_of_one_file_only(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:3000])])
    incoming.close()
    other = IncomingFile.open(tmp_path, selector_of(DATA[::-1]))
    assert other.offset == 0
    other.close()


def test_two_transfers_of_one_file_do_not_share_a_part(tmp_path: Path):
    one, other = (IncomingFile.open(tmp_path, selector_of(DATA)) for _ in range(2))
    one.write([(0, DATA[:3000])])
    other.write([(0, DATA)])
    assert other.finish() == str(tmp_path / "data.bin")
    one.write([(3000, DATA[3000:])])
    assert one.finish() == str(tmp_path / "data (1).bin")


def test_what_was_hashed_cannot_be_changed_afterwards(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:3000]), (100, b"evil"), (2998, b"??" + DATA[3000:])])
    assert Path(incoming.finish()).read_bytes() == DATA


def test_without_a_hash_nothing_is_kept(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, FileSelector("a", size=100))
    incoming.write([(0, b"abc")])
    incoming.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("begin", [DATA[:3000], b"\0" * 3000])
def test_a_wrong_hash_leaves_nothing(tmp_path: Path, begin: bytes):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, begin)])
    incoming.close()
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    rest = DATA[3000:] if begin[0:1] != DATA[0:1] or begin[1] == 0 else DATA[3000:-1] + b"?"
    again.write([(3000, rest)])
    with pytest.raises(FileMismatch, match="hash"):
        again.finish()
    assert list(tmp_path.iterdir()) == []


def test_fewer_bytes_than_announced(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:-1])])
    with pytest.raises(FileMismatch, match=f"after {len(DATA) - 1} bytes, {len(DATA)} were announced"):
        incoming.finish()
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_announced_are_not_written(tmp_path: Path):
    incoming = IncomingFile.open(tmp_path, FileSelector("a", size=3))
    with pytest.raises(FileMismatch, match="more than the 3 bytes"):
        incoming.write([(0, b"ab"), (2, b"cd")])
    incoming.close()


def test_a_disk_without_room_is_known_before_the_transfer(tmp_path: Path):
    with pytest.raises(FileUnwritable, match="the disk has room for"):
        IncomingFile.open(tmp_path, FileSelector("a", size=2**60))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    incoming = IncomingFile.open(tmp_path, selector_of(DATA))
    incoming.write([(0, DATA[:3000])])

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(incoming_file, "_write_at", full)
        with pytest.raises(FileUnwritable, match="No space left on device"):
            incoming.write([(3000, DATA[3000:])])
    incoming.close()
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    assert again.offset == 3000
    again.write([(3000, DATA[3000:])])
    assert Path(again.finish()).read_bytes() == DATA


def test_a_directory_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileUnwritable, match="cannot write to"):
        IncomingFile.open(tmp_path / "file", selector_of(DATA))
    (tmp_path / PARTS).symlink_to(tmp_path)
    with pytest.raises(FileUnwritable, match="cannot write to"):
        IncomingFile.open(tmp_path, selector_of(DATA))


def test_a_part_planted_as_a_link_is_not_followed(tmp_path: Path):
    first = IncomingFile.open(tmp_path, selector_of(DATA))
    first.write([(0, DATA[:1])])
    first.close()
    (part,) = parts(tmp_path)
    part.unlink()
    part.symlink_to(tmp_path / "victim")
    with pytest.raises(FileUnwritable):
        IncomingFile.open(tmp_path, selector_of(DATA))
    assert not (tmp_path / "victim").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a part has one name on Windows")
def test_a_part_that_is_in_place_already_is_not_touched(tmp_path: Path):
    first = IncomingFile.open(tmp_path, selector_of(DATA))
    first.write([(0, DATA[:10])])
    first.close()
    (part,) = parts(tmp_path)
    os.link(part, tmp_path / "data.bin")
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    again.write([(0, b"?")])
    again.close()
    assert (tmp_path / "data.bin").read_bytes() == DATA[:10]


def test_parts_that_nobody_continues_are_removed(tmp_path: Path):
    first = IncomingFile.open(tmp_path, selector_of(DATA))
    first.write([(0, DATA[:10])])
    first.close()
    (part,) = parts(tmp_path)
    long_ago = time.time() - incoming_file.PART_LIFETIME - 60
    os.utime(part, (long_ago, long_ago))
    IncomingFile.open(tmp_path, selector_of(b"other")).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no modes on Windows")
def test_parts_are_private_and_the_file_has_the_usual_mode(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        incoming = IncomingFile.open(tmp_path, selector_of(b"x"))
        assert stat.S_IMODE((tmp_path / PARTS).stat().st_mode) == 0o700
        incoming.write([(0, b"x")])
        assert stat.S_IMODE(os.stat(incoming.finish()).st_mode) == 0o640
    finally:
        os.umask(mask)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6), st.randoms(use_true_random=False))
def test_blocks_in_any_order_and_more_than_once(tmp_path_factory: Any, data: bytes, cuts: list[int], random: Any):
    directory = tmp_path_factory.mktemp("any")
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    blocks = [(start, data[start:end]) for start, end in pairwise(ends)]
    blocks += blocks[:1]
    random.shuffle(blocks)
    incoming = IncomingFile.open(directory, selector_of(data))
    for block in blocks:
        incoming.write([block])
    path = Path(incoming.finish())
    assert hashlib.sha1(path.read_bytes()).digest() == hashlib.sha1(data).digest()
