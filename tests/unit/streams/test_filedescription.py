"""What a media section says about a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.core import SDPAttribute, SDPMediaStream
from sipsimple.streams.msrp.filedescription import FileDescription, FileRange
from sipsimple.streams.msrp.fileselector import FileSelector


def media(*attributes: tuple[str, str]) -> SDPMediaStream:
    lines = [SDPAttribute(name, value) for name, value in attributes]
    return SDPMediaStream("message", 2855, "TCP/MSRP", formats=["*"], attributes=lines)


def with_selector(**attributes: str) -> Any:
    more = [(name.replace("_", "-"), value) for name, value in attributes.items()]
    return FileDescription.parse(media(("file-selector", 'name:"a"'), *more))


def test_a_section_without_a_selector_describes_no_file():
    assert FileDescription.parse(media(("file-range", "1-*"))) is None


def test_a_section_reads_as_it_was_written():
    modified = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    written = FileDescription(FileSelector("a b", size=3), modified=modified, range=FileRange(2))
    attributes = {attribute.name: attribute.value for attribute in written.attributes()}
    assert attributes["file-date"] == 'modification:"Tue, 24 Nov 2026 12:00:00 +0000"'
    assert (attributes["file-disposition"], attributes["file-range"]) == ("attachment", "2-*")
    read = FileDescription.parse(media(*attributes.items()))
    assert read is not None
    assert (read.transfer_id, read.modified, read.range) == (written.transfer_id, modified, FileRange(2))
    assert read.selector.sdp_repr == written.selector.sdp_repr


def test_every_transfer_has_an_id_of_its_own():
    assert FileDescription(FileSelector()).transfer_id != FileDescription(FileSelector()).transfer_id


def test_an_older_party_says_less():
    described = with_selector()
    assert (described.transfer_id, described.range, described.modified) == (None, None, None)
    assert described.disposition == "attachment"


@pytest.mark.parametrize(
    "date", ["", 'modification:"yesterday"', 'modification:"Mon, 99 May 9999 99:99:99 +9999"', "x" * 500]
)
def test_a_date_that_is_none_is_passed_over(date: str):
    assert with_selector(file_date=date).modified is None


def test_an_icon_is_passed_over():
    assert with_selector(file_icon="cid:id2@alicepc.example.com").disposition == "attachment"


@pytest.mark.parametrize("text", ["0-5", "5-3", "-1", "1", "*-*", "1-99999999999999999999", "1-2-3", "1 - 2"])
def test_what_is_no_range_is_refused(text: str):
    with pytest.raises(ValueError):
        FileRange.parse(text)


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, 'a"b'])
def test_what_is_no_id_is_refused(text: str):
    with pytest.raises(ValueError):
        with_selector(file_transfer_id=text)


@given(st.integers(1, 2**61), st.none() | st.integers(0, 2**61))
def test_ranges_read_as_they_are_written(start: int, length: int | None):
    file_range = FileRange(start, None if length is None else start + length)
    assert FileRange.parse(str(file_range)) == file_range


def test_which_ranges_are_a_whole_file():
    assert FileRange().is_whole(None)
    assert FileRange(1, 5).is_whole(5)
    assert not FileRange(1, 5).is_whole(6)
    assert not FileRange(2).is_whole(6)


@given(
    st.dictionaries(
        st.sampled_from(["file-transfer-id", "file-disposition", "file-date", "file-range"]), st.text(max_size=60)
    )
)
def test_any_text_is_read_or_refused(attributes: dict[str, str]):
    try:
        section = media(("file-selector", 'name:"a"'), *attributes.items())
    except ValueError:
        return  # the description itself does not take it
    try:
        described = FileDescription.parse(section)
    except ValueError:
        return
    assert described is not None
    described.attributes()
