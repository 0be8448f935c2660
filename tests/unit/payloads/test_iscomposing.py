"""Composing indications, and XML that means harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.payloads.iscomposing import MAX_SIZE, IsComposing
from sipsimple.payloads.xmldoc import MAX_DEPTH, MalformedDocument, parse_document

# The examples of RFC 3994 5.
ACTIVE = b"""<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="urn:ietf:params:xml:ns:im-composing iscomposing.xsd">
  <state>active</state>
  <contenttype>text/plain</contenttype>
  <refresh>90</refresh>
</isComposing>"""
IDLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">
  <state>idle</state>
  <lastactive>2003-01-27T10:43:00Z</lastactive>
  <contenttype>audio</contenttype>
</isComposing>"""
NAMESPACE = b'xmlns="urn:ietf:params:xml:ns:im-iscomposing"'


def document(inner: bytes, prologue: bytes = b"") -> bytes:
    return prologue + b"<isComposing " + NAMESPACE + b">" + inner + b"</isComposing>"


def test_the_examples_of_the_rfc():
    assert IsComposing.parse(ACTIVE) == IsComposing("active", 90, None, "text/plain")
    assert IsComposing.parse(IDLE) == IsComposing("idle", None, datetime(2003, 1, 27, 10, 43, tzinfo=UTC), "audio")


def test_the_wire_form():
    zone = timezone(timedelta(hours=2))
    assert IsComposing("active", 60, datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone), "text").encode() == (
        b"<?xml version='1.0' encoding='UTF-8'?>\n"
        b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state>'
        b"<lastactive>2026-01-02T01:04:05Z</lastactive><contenttype>text</contenttype>"
        b"<refresh>60</refresh></isComposing>"
    )


def test_an_unknown_state_is_idle_and_nonsense_is_missing():
    found = IsComposing.parse(
        document(b"<state> sleeping </state><refresh>-1</refresh><lastactive>now</lastactive><contenttype/><x/>")
    )
    assert found == IsComposing("idle")
    assert IsComposing.parse(document(b"<state>active</state><refresh>0</refresh>")).refresh is None
    huge = b"<state>active</state><refresh>" + b"9" * 5000 + b"</refresh>"
    assert IsComposing.parse(document(huge)).refresh is None


@pytest.mark.parametrize("arguments", [("away",), ("active", 0), ("active", -5), ("active", 2**40)])
def test_what_cannot_be_said(arguments):
    with pytest.raises(ValueError):
        IsComposing(*arguments)


BOMB = b"<!DOCTYPE x [<!ENTITY a 'ha'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(9)
)
NASTY = {
    "nothing": b"",
    "no XML": b"hello",
    "half": ACTIVE[:200],
    "another root": b"<a/>",
    "another namespace": b"<isComposing><state>active</state></isComposing>",
    "no state": document(b""),
    "billion laughs": document(b"<state>&j;</state>", BOMB + b"]>"),
    "external entity": document(b"<state>&x;</state>", b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    "external DTD": document(b"<state>active</state>", b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'),
    "a document type alone": document(b"<state>active</state>", b"<!DOCTYPE isComposing>"),
    "deep": document(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH),
    "very deep": document(b"<a>" * 20_000 + b"</a>" * 20_000),
    "large": document(b" " * MAX_SIZE + b"<state>active</state>"),
    "a bomb in UTF-16": document(b"<state>&j;</state>", BOMB + b"]>").decode().encode("utf-16"),
    "control characters": document(b"<state>\x00</state>"),
}


@pytest.mark.parametrize("data", NASTY.values(), ids=NASTY)
def test_harmful_and_broken_documents_are_refused(data):
    with pytest.raises(MalformedDocument):
        IsComposing.parse(data)


moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC), allow_imaginary=False).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(
    st.builds(
        IsComposing,
        st.sampled_from(["active", "idle"]),
        st.none() | st.integers(1, 2**31 - 1),
        st.none() | moments,
        st.none() | st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True),
    )
)
def test_documents_are_read_as_written(indication):
    assert IsComposing.parse(indication.encode()) == indication


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda inner: document(inner.encode("utf-8", "replace"))))
def test_nothing_but_the_one_error(data):
    try:
        IsComposing.parse(data)
    except MalformedDocument:
        return


def test_comments_and_instructions_do_not_count():
    data = b"<?x y?><!-- z --><r xmlns='urn:x'><!-- z --><?x y?><a/></r>"
    assert [child.tag for child in parse_document(data, "{urn:x}r")] == ["{urn:x}a"]
