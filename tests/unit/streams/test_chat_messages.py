"""Chat messages and identities as applications see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.core import SIPURI, FrozenSIPURI
from sipsimple.streams.applications.chat import (
    ChatIdentity,
    CPIMHeader,
    CPIMIdentity,
    CPIMMessage,
    CPIMNamespace,
    CPIMParserError,
    MultilingualText,
    decode_body,
)

ALICE = CPIMIdentity(FrozenSIPURI.parse("sip:alice@example.com"), "Alice")
NAMESPACE = CPIMNamespace("urn:example", "ex")
COMPARED = (
    *("body", "content_type", "sender", "recipients", "courtesy_recipients", "subject", "timestamp", "required"),
    "additional_headers",
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def same(message: CPIMMessage, other: CPIMMessage) -> bool:
    return [getattr(message, name) for name in COMPARED] == [getattr(other, name) for name in COMPARED]


@pytest.mark.parametrize(
    ("value", "uri", "name"),
    [
        ("Alice <sip:alice@example.com>", "sip:alice@example.com", "Alice"),
        ('"Alice B." <alice@example.com>', "sip:alice@example.com", "Alice B."),
        ("<im:alice@example.com>", "im:alice@example.com", None),
        ("sips:alice@example.com", "sips:alice@example.com", None),
    ],
)
def test_identities_are_read(value, uri, name):
    identity = CPIMIdentity.parse(value)
    assert (str(identity.uri), identity.display_name) == (uri, name)
    assert CPIMIdentity.parse(str(identity)) == identity


@pytest.mark.parametrize("value", ["", "Alice", "<>", "<sip:>", "Alice <sip:a b@c>", "x" * 5000])
def test_what_names_nobody_is_refused(value):
    if value == "Alice":
        assert str(CPIMIdentity.parse(value).uri) == "sip:Alice"  # a host
        return
    with pytest.raises(ValueError):
        CPIMIdentity.parse(value)


def test_identities_are_equal_by_what_they_say():
    assert ChatIdentity(SIPURI("example.com", "alice"), "Alice") == ALICE
    assert hash(ChatIdentity(SIPURI("example.com", "alice"), "Alice")) == hash(ALICE)
    assert ChatIdentity(ALICE.uri) != ALICE
    assert ALICE != "Alice"


def test_a_message_as_text_and_back():
    message = CPIMMessage("Grüße\r\n", "text/plain", ALICE, [ALICE], timestamp=datetime(2026, 1, 2, tzinfo=UTC))
    wire = str(message)
    assert wire == (
        "From: Alice <sip:alice@example.com>\r\nTo: Alice <sip:alice@example.com>\r\n"
        'DateTime: 2026-01-02T00:00:00+00:00\r\n\r\nContent-Type: text/plain; charset="utf-8"\r\n\r\nGrüße\r\n'
    )
    assert same(CPIMMessage.parse(wire), message)
    assert same(CPIMMessage.parse(wire.encode()), message)
    with pytest.raises(CPIMParserError):
        CPIMMessage.parse("From: <sip:a@b>")


def test_the_old_name_of_the_required_headers_is_known():
    data = "Required: a, b\nRequire: c\n\nContent-Type: text/plain\n\n"
    assert CPIMMessage.parse(data).required == ["a", "b", "c"]


def test_subjects_in_several_languages():
    subject = MultilingualText("Hello", fr="Salut", de="Hallo")
    found = CPIMMessage.parse(CPIMMessage("", "text/plain", subject=subject).encode()).subject
    assert (found, found.get_translation("fr"), found.get_translation("it")) == ("Hello", "Salut", "Hello")
    only_french = CPIMMessage.parse("Subject:;lang=fr Salut\n\nContent-Type: text/plain\n\n").subject
    assert (only_french, only_french.translations) == ("Salut", {"fr": "Salut"})


def test_bytes_stay_bytes():
    message = CPIMMessage(b"\x89PNG\r\n\xff", "image/png")
    assert CPIMMessage.parse(message.encode()).body == b"\x89PNG\r\n\xff"
    assert isinstance(str(message), str)


@pytest.mark.parametrize("content_type", ["text/plain; charset=hex", "text/plain; charset=none", 'text/x;charset="'])
def test_a_character_set_that_is_none_counts_as_utf_8(content_type):
    assert decode_body("ü".encode(), content_type)[0] == "ü"


moments = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.integers(-700, 700).map(lambda m: timezone(timedelta(minutes=m))),
)
identities = st.builds(
    CPIMIdentity,
    st.from_regex(r"sip:[a-z0-9]{1,8}@[a-z]{1,8}\.example", fullmatch=True).map(FrozenSIPURI.parse),
    st.none() | text.map(str.strip).filter(bool),
)


@given(
    st.builds(
        CPIMMessage,
        text,
        st.sampled_from(["text/plain", "text/html"]),
        st.none() | identities,
        st.lists(identities, max_size=3),
        st.lists(identities, max_size=2),
        st.none() | text.map(MultilingualText),
        st.none() | moments,
        st.lists(st.from_regex("[A-Za-z]{1,8}", fullmatch=True), max_size=3),
        st.lists(
            st.builds(CPIMHeader, st.from_regex("[A-Z][a-z]{1,8}", fullmatch=True), st.just(NAMESPACE), text),
            max_size=3,
        ),
    )
)
def test_messages_are_read_as_written(message):
    assert same(CPIMMessage.parse(message.encode()), message)


@given(st.binary(max_size=120), st.text(max_size=40))
def test_no_body_makes_reading_fail(data, content_type):
    decode_body(data, content_type)
    decode_body(data, f"text/plain; charset={content_type}")
