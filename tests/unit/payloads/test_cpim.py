"""CPIM as bytes: what is read, what is refused, and that writing and reading are inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.payloads.cpim import (
    MAX_HEADERS,
    MAX_LINE_LENGTH,
    CPIMDocument,
    CPIMField,
    CPIMNamespace,
    CPIMParserError,
    escape,
    format_address,
    parse_address,
    unescape,
)

# The example of RFC 3862 5.1, with the extension headers of its section 3.4.
EXAMPLE = b"""From: MR SANDERS <im:piglet@100akerwood.com>
To: Depressed Donkey <im:eeyore@100akerwood.com>
DateTime: 2000-12-13T13:40:00-08:00
Subject: the weather will be fine today
Subject:;lang=fr beau temps prevu pour aujourd'hui
NS: MyFeatures <mid:MessageFeatures@id.foo.com>
Require: MyFeatures.VitalMessageOption
MyFeatures.VitalMessageOption: Confirmation-requested
MyFeatures.WackyMessageOption: Use-silly-font

Content-type: text/xml; charset=utf-8
Content-ID: <1234567890@foo.com>

<body>
Here is the text of my message.
</body>
"""

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
token = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_example_of_the_rfc(line_end):
    document = CPIMDocument.parse(EXAMPLE.replace(b"\n", line_end))
    assert [(field.name, field.text) for field in document.fields if field.namespace is None] == [
        ("From", "MR SANDERS <im:piglet@100akerwood.com>"),
        ("To", "Depressed Donkey <im:eeyore@100akerwood.com>"),
        ("DateTime", "2000-12-13T13:40:00-08:00"),
        ("Subject", "the weather will be fine today"),
        ("Subject", "beau temps prevu pour aujourd'hui"),
        ("Require", "MyFeatures.VitalMessageOption"),
    ]
    assert document.fields[4].language == "fr"
    extension = document.fields[-2:]
    assert {field.namespace for field in extension} == {"mid:MessageFeatures@id.foo.com"}
    assert {field.namespace.prefix for field in extension} == {"MyFeatures"}
    assert (document.media_type, document.charset) == ("text/xml", "utf-8")
    assert document.content_headers == (("Content-ID", "<1234567890@foo.com>"),)
    assert document.content.startswith(b"<body>")
    assert document.content.endswith(b"</body>" + line_end)


def test_line_ends_may_be_mixed_and_the_content_is_left_alone():
    document = CPIMDocument.parse(
        b"From: <sip:a@b>\r\n\r\nMIME-Version: 1.0\nContent-Type: text/plain\n\n\r\n\r\nbody\r\n"
    )
    assert document.content == b"\r\n\r\nbody\r\n"
    assert document.content_headers == ()


def test_content_headers_may_be_folded_and_content_encoded():
    head = b"From: <sip:a@b>\n\nContent-Type: text/plain;\n charset=latin1\nContent-Transfer-Encoding: "
    document = CPIMDocument.parse(head + b"base64\n\n8A==\n")
    assert (document.content_type, document.charset, document.content) == (
        "text/plain; charset=latin1",
        "latin1",
        b"\xf0",
    )
    assert CPIMDocument.parse(head + b"quoted-printable\n\n=F0=\nx").content == b"\xf0x"
    with pytest.raises(CPIMParserError):
        CPIMDocument.parse(head + b"base64\n\n8\n")


def test_headers_of_unknown_prefixes_and_without_sense_are_passed_over():
    data = b"other.Key: 1\nno colon\n: empty\nbad name: 1\nNS: <\nSubject: yes\n\xff: 1\n\nContent-Type: text/plain\n\n"
    assert CPIMDocument.parse(data).fields == (CPIMField("Subject", "yes"),)


def test_a_namespace_without_a_prefix_becomes_the_default():
    data = (
        b"Subject: one\nNS: <urn:other>\nSubject: two\nNS: core <urn:ietf:params:cpim-headers:>\ncore.Subject: three\n"
    )
    fields = CPIMDocument.parse(data + b"\nContent-Type: text/plain\n\n").fields
    assert [(field.name, field.value, field.namespace) for field in fields] == [
        ("Subject", "one", None),
        ("Subject", "two", "urn:other"),
        ("Subject", "three", None),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"From: <sip:a@b>",
        b"From: <sip:a@b>\r\n\r\n",
        b"From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n",
        b"From: <sip:a@b>\r\n\r\nX: y\r\n\r\nbody",
        b"From: <sip:a@b>\r\n\r\n\r\nbody",
        b"From: <sip:a@b>\r\n\r\nContent-Type:\r\n\r\nbody",
        b"X: y\n" * (MAX_HEADERS + 1) + b"\nContent-Type: text/plain\n\n",
        b"X: " + b"y" * MAX_LINE_LENGTH + b"\n\nContent-Type: text/plain\n\n",
        b"x" * 1_000_000,
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_cpim_is_refused(data):
    with pytest.raises(CPIMParserError):
        CPIMDocument.parse(data)


def test_the_wire_form():
    namespace = CPIMNamespace("urn:ietf:params:imdn", "imdn")
    fields = (
        CPIMField("From", format_address("Alice", "sip:alice@example.com")),
        CPIMField("Subject", escape("a\\b\nc")),
        CPIMField("Subject", "Salut", None, "fr"),
        CPIMField("Message-ID", "1", namespace),
        CPIMField("Disposition-Notification", "display", namespace),
        CPIMField("Other", "2", CPIMNamespace("urn:other", "imdn")),
    )
    assert CPIMDocument(fields, "text/plain", b"Hi").encode() == (
        b"From: Alice <sip:alice@example.com>\r\n"
        b"Subject: a\\\\b\\u000ac\r\n"
        b"Subject:;lang=fr Salut\r\n"
        b"NS: imdn <urn:ietf:params:imdn>\r\n"
        b"imdn.Message-ID: 1\r\n"
        b"imdn.Disposition-Notification: display\r\n"
        b"NS: ns1 <urn:other>\r\n"
        b"ns1.Other: 2\r\n"
        b"\r\nContent-Type: text/plain\r\n\r\nHi"
    )


@pytest.mark.parametrize(
    "field",
    [
        CPIMField("bad name", "x"),
        CPIMField("", "x"),
        CPIMField("Name", "a\r\nTo: <sip:x@y>"),
        CPIMField("Subject", "x", None, "no tag"),
        CPIMField("Name", "x", CPIMNamespace("no uri>", "x")),
    ],
)
def test_what_has_no_wire_form_is_refused(field):
    with pytest.raises(ValueError):
        CPIMDocument((field,), "text/plain", b"").encode()


def test_a_type_cannot_smuggle_headers():
    with pytest.raises(ValueError):
        CPIMDocument((), "text/plain\r\nX: y", b"").encode()


@given(text)
def test_escapes_are_undone(value):
    written = escape(value)
    assert unescape(written) == value
    assert written.isprintable() or not any(ord(character) < 32 for character in written)


@given(st.text(max_size=60))
def test_no_text_makes_unescape_fail(value):
    unescape(value).encode()  # no lone surrogates unless they were there before


def test_every_escape_of_the_rfc_is_known():
    assert unescape(r"\b\t\n\r\"\'\\A\x") == "\b\t\n\r\"'\\A\\x"
    assert unescape(r"\ud83d\ude00\ud83d") == "\U0001f600�"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("<sip:a@b>", (None, "sip:a@b")),
        ("sip:a@b", (None, "sip:a@b")),
        ("Alice <sip:a@b>", ("Alice", "sip:a@b")),
        ('"Alice" <sip:a@b>', ("Alice", "sip:a@b")),
        (r'"A \"B\" \\C" <sip:a@b>', ('A "B" \\C', "sip:a@b")),
        ("  Ünïcode  Name<sip:a@b> ", ("Ünïcode  Name", "sip:a@b")),
        ('"" <sip:a@b>', (None, "sip:a@b")),
    ],
)
def test_addresses_are_read_as_others_write_them(value, address):
    assert parse_address(value) == address


@pytest.mark.parametrize("value", ["", "<>", "Alice", "a b", "<sip:a b>", "sip:a@b>", " " * 100_000 + ">", "<" * 9999])
def test_what_is_no_address_is_refused(value):
    if value == "Alice":
        assert parse_address(value) == (None, "Alice")  # a URI without scheme, for others to judge
        return
    with pytest.raises(ValueError):
        parse_address(value)


@given(text.map(str.strip), st.from_regex(r"sip:[a-z0-9.@\-]{1,20}", fullmatch=True))
def test_addresses_are_read_as_written(name, uri):
    assert parse_address(format_address(name, uri)) == (name or None, uri)


fields = st.builds(
    CPIMField,
    token.filter(lambda name: name.upper() != "NS"),
    text.map(escape),
    st.none() | st.builds(CPIMNamespace, token.map("urn:x:{}".format), token | st.just("")),
    st.none() | st.from_regex(r"[a-z]{2}(-[A-Z]{2})?", fullmatch=True),
)


@given(
    st.builds(
        CPIMDocument,
        st.lists(fields, max_size=8).map(tuple),
        st.sampled_from(["text/plain", 'text/plain; charset="utf-8"', "image/png"]),
        st.binary(max_size=200),
        st.lists(st.tuples(token.map("X-{}".format), token), max_size=3).map(tuple),
    )
)
def test_documents_are_read_as_written(document):
    assert CPIMDocument.parse(document.encode()) == document


@given(st.binary(max_size=300) | st.lists(st.sampled_from(EXAMPLE.splitlines(keepends=True))).map(b"".join))
def test_nothing_but_the_one_error(data):
    try:
        CPIMDocument.parse(data).encode()
    except (CPIMParserError, ValueError):
        return
