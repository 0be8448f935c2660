"""FileSelector: the text of the attribute, hashes and real files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.streams.msrp.filehash import Hasher, hash_blocks, parse_hash
from sipsimple.streams.msrp.fileselector import MAX_SELECTOR_LENGTH, FileSelector

SHA1 = "sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E"
SHA256 = "sha-256:" + ":".join(["AB"] * 32)


def same(one: FileSelector, other: FileSelector) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("name", "type", "size", "hash", "sha256"))


@pytest.mark.spec(193, 194, 195, 196, 197, 198)
def test_everything_is_none_and_readable():
    selector = FileSelector()
    assert [selector.name, selector.type, selector.size, selector.hash, selector.fd] == [None] * 5
    fd = object()
    selector = FileSelector("a.txt", "text/plain", 3, f"hash:{SHA1}", fd)
    assert (selector.name, selector.type, selector.size) == ("a.txt", "text/plain", 3)
    assert (selector.hash, selector.fd) == (SHA1, fd)


@pytest.mark.spec(197)
@pytest.mark.parametrize("spelling", ["hash:sha-1:", "sha-1:", "sha1:", "SHA1:"])
def test_the_spellings_of_a_hash_become_one(spelling: str):
    assert FileSelector(hash=spelling + SHA1.partition(":")[2].lower()).hash == SHA1


@pytest.mark.parametrize("text", ["", "sha-1:", "sha-1:72", "md5:" + "AA:" * 15 + "AA", SHA1 + ":00", SHA256])
def test_what_is_no_sha_1_is_refused_as_hash(text: str):
    with pytest.raises(ValueError):
        FileSelector(hash=text)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_size_that_no_file_has_is_refused(value: int):
    with pytest.raises(ValueError):
        FileSelector(size=value)


@pytest.mark.parametrize("value", ["text/plain\r\na=evil", "a b", "", 'text/"'])
def test_a_type_that_would_break_the_line_is_refused(value: str):
    with pytest.raises(ValueError):
        FileSelector(type=value)


def test_a_type_with_parameters_goes_without_blanks():
    assert FileSelector(type='text/plain ; charset="a ; b"; x=y').type == 'text/plain;charset="a ; b";x=y'


@pytest.mark.spec(205)
def test_the_attribute_has_the_parts_in_order():
    selector = FileSelector("x.txt", "text/plain", 3, SHA1, sha256=SHA256)
    assert selector.sdp_repr == f'name:"x.txt" type:text/plain size:3 hash:{SHA1} hash:{SHA256}'
    assert FileSelector().sdp_repr == ""


def test_what_would_end_the_name_or_the_line_is_percent_encoded():
    selector = FileSelector('50%"\r\n\0.txt')
    assert selector.sdp_repr == 'name:"50%25%22%0D%0A%00.txt"'
    assert FileSelector.parse(selector.sdp_repr).name == selector.name


@pytest.mark.spec(199, 200)
def test_parts_in_any_order_and_unknown_ones():
    text = f'hash:{SHA256} x:1 size:5 hash:md5:00 name:"my size:7 file" type:text/plain;charset="a b" junk hash:{SHA1}'
    selector = FileSelector.parse(text)
    assert (selector.name, selector.size, selector.type) == ("my size:7 file", 5, 'text/plain;charset="a b"')
    assert selector.hashes == {"sha-1": SHA1, "sha-256": SHA256}


def test_the_example_of_the_contract():
    digest = "60:A1:BE:8D:71:DB:E3:8E:84:C9:2C:62:9E:F2:99:78:9D:68:79:F6"
    selector = FileSelector.parse(f'name:"reblink.pdf" type:com.adobe.pdf size:268759 hash:sha1:{digest}')
    assert (selector.name, selector.type, selector.size) == ("reblink.pdf", "com.adobe.pdf", 268759)
    assert selector.hash == f"sha-1:{digest}"


@pytest.mark.parametrize(
    "text", ['name:"open', "name:x", "size:-1", "size:99999999999999999999", "hash:sha-1:zz", "type:"]
)
def test_broken_parts_are_ignored(text: str):
    assert FileSelector.parse(text).sdp_repr == ""


def test_a_selector_that_is_too_long_is_refused():
    FileSelector.parse('name:"' + "x" * (MAX_SELECTOR_LENGTH - 7) + '"')
    with pytest.raises(ValueError, match="8193 characters"):
        FileSelector.parse("x" * (MAX_SELECTOR_LENGTH + 1))


@given(st.text(st.sampled_from('":% \r\nab1-') | st.characters(), max_size=200))
def test_any_text_parses(text: str):
    selector = FileSelector.parse(text)
    assert same(FileSelector.parse(selector.sdp_repr), selector)
    assert not set(selector.sdp_repr) & set("\r\n\0")


hashes = st.sampled_from([None, SHA1])
names = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.spec(199)
@given(names, st.none() | st.integers(0, 2**63 - 1), st.sampled_from([None, "text/plain", "x"]), hashes)
def test_parse_is_the_inverse_of_sdp_repr(name: str | None, size: int | None, kind: str | None, hash: str | None):
    selector = FileSelector(name, kind, size, hash)
    assert same(FileSelector.parse(selector.sdp_repr), selector)


@pytest.mark.spec(201, 202, 203, 204)
def test_for_file(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"abc")
    selector = FileSelector.for_file(str(path))
    with selector.fd:
        assert (selector.name, selector.type, selector.size) == ("notes.txt", "text/plain", 3)
        assert selector.hash == "sha-1:" + hashlib.sha1(b"abc").digest().hex(":").upper()
        assert selector.sha256 == "sha-256:" + hashlib.sha256(b"abc").digest().hex(":").upper()
        assert selector.fd.read() == b"abc"
    selector = FileSelector.for_file(path, "application/x-notes", compute_hash=False)
    with selector.fd:
        assert (selector.type, selector.hash, selector.sha256) == ("application/x-notes", None, None)
        assert selector.fd.tell() == 0


@pytest.mark.spec(203)
@pytest.mark.parametrize(
    ("name", "kind"), [("a.tar.gz", "application/x-gzip"), ("b.unheard-of", "application/octet-stream")]
)
def test_the_type_is_guessed_from_the_extension(tmp_path: Path, name: str, kind: str):
    (tmp_path / name).write_bytes(b"")
    selector = FileSelector.for_file(tmp_path / name)
    selector.fd.close()
    assert (selector.type, selector.size) == (kind, 0)


@pytest.mark.spec(201)
def test_what_is_no_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        FileSelector.for_file(tmp_path / "missing")
    with pytest.raises(OSError, match="no regular file"):
        FileSelector.for_file(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="no regular file"):
            FileSelector.for_file(tmp_path / "pipe")


def test_what_is_asked_for_is_what_does_not_differ():
    wanted = FileSelector(name="a", hash=SHA1)
    assert wanted.matches(FileSelector("a", "text/plain", 3, SHA1))
    assert wanted.matches(FileSelector("a"))
    assert not wanted.matches(FileSelector("b", hash=SHA1))
    assert not wanted.matches(FileSelector("a", hash="sha-1:" + ":".join(["00"] * 20)))


async def test_hashing_in_threads_tells_its_progress(tmp_path: Path):
    data = os.urandom(9 * 1024 * 1024)
    blocks = [data[i : i + 1024 * 1024] for i in range(0, len(data), 1024 * 1024)]
    told: list[int] = []
    hasher = await hash_blocks(lambda _: blocks.pop(0) if blocks else b"", told.append)
    assert hasher.text("sha-1") == "sha-1:" + hashlib.sha1(data).digest().hex(":").upper()
    assert told == [8 * 1024 * 1024, 9 * 1024 * 1024]


def test_a_hash_of_nothing():
    assert parse_hash(Hasher().text("sha-256"))[0] == "sha-256"
