"""URIs, chunks, ranges and roles: the small values of the protocol, written and read."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.msrp.errors import BindRefused, MalformedChunk, MalformedURI, MSRPTimeoutError
from sipsimple.msrp.message import ByteRange, MSRPData, Status, parse_head
from sipsimple.msrp.ranges import MAX_GAPS, Coverage
from sipsimple.msrp.roles import Setup, answer_setup, is_active
from sipsimple.msrp.uri import MSRPURI, new_session_id, parse_path


@pytest.mark.parametrize(
    "text",
    [
        "msrp://host.example:2855/ca7940f12ddef14c3c32;tcp",
        "msrps://192.0.2.6:2855/a-._~+=/b;tcp",
        "msrps://alice@relay.example;tcp",
        "msrp://[2001:db8::1]:9/x;sctp;flag;name=value",
    ],
)
def test_a_uri_is_written_as_it_was_read(text):
    assert str(MSRPURI.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:alice@example.com",
        "msrp://host:1/x",
        "msrp://host:0/x;tcp",
        "msrp://host:65536/x;tcp",
        "msrp://host:1/;tcp",
        "msrp://[::g]:1/x;tcp",
        "msrp://:1/x;tcp",
        "msrp://host:1/x;tcp\r\nX: y",
        "msrp://" + "h" * 1024 + ";tcp",
    ],
)
def test_what_is_no_uri_is_malformed(text):
    with pytest.raises(MalformedURI):
        MSRPURI.parse(text)


def test_a_uri_without_a_port_means_2855():
    assert MSRPURI.parse("msrp://host/x;tcp").effective_port == 2855
    assert MSRPURI.parse("msrp://host:1/x;tcp").effective_port == 1


def test_paths_are_bounded():
    assert [uri.host for uri in parse_path("msrp://a;tcp  msrp://b;tcp")] == ["a", "b"]
    for text in ("", " ", " ".join(["msrp://a;tcp"] * 17)):
        with pytest.raises(MalformedURI):
            parse_path(text)


def test_session_ids_have_80_random_bits():
    assert len(new_session_id()) == 20
    assert new_session_id() != new_session_id()


@pytest.mark.parametrize("text", ["1-5/5", "1-*/*", "1-0/0", "6-5/10", "3-*/7"])
def test_byte_ranges_are_written_as_they_were_read(text):
    assert str(ByteRange.parse(text)) == text


@pytest.mark.parametrize("text", ["", "1", "0-1/1", "1-9/5", "5-3/9", "*-1/1", "9-*/5", f"1-{2**63}/*", "1-5/5 x"])
def test_impossible_byte_ranges_are_malformed(text):
    with pytest.raises(MalformedChunk):
        ByteRange.parse(text)


def test_a_status_is_read_with_and_without_words():
    assert Status.parse("000 200 OK") == Status(200, "OK", 0)
    assert Status.parse("000 408") == Status(408)
    assert str(Status(413, "Stop")) == "000 413 Stop"
    for text in ("200 OK", "0 200", "000 200OK"):
        with pytest.raises(MalformedChunk):
            Status.parse(text)


def test_a_response_is_written_with_its_usual_comment():
    assert MSRPData("abcd", code=481).encode() == b"MSRP abcd 481 No Such Session\r\n-------abcd$\r\n"
    assert MSRPData("abcd", code=299).encode() == b"MSRP abcd 299\r\n-------abcd$\r\n"
    assert MSRPData("abcd", code=200, comment="Fine").status == Status(200, "Fine")


def test_the_content_type_comes_last():
    chunk = MSRPData("abcd", method="SEND", headers={"Content-Type": "a/b", "To-Path": "x"}, data=b"y")
    assert chunk.encode() == b"MSRP abcd SEND\r\nTo-Path: x\r\nContent-Type: a/b\r\n\r\ny\r\n-------abcd$\r\n"


def test_line_breaks_never_get_into_headers():
    with pytest.raises(ValueError, match="line break"):
        MSRPData("abcd", method="SEND", headers={"Subject": "x\r\nTo-Path: y"}).encode()


@pytest.mark.parametrize(
    "block",
    [
        b"MSRP abc SEND",
        b"MSRP abcd send",
        b"MSRP abcd 20 OK",
        b"MSRP abcd SEND\r\nno header",
        b"MSRP abcd SEND\r\n: x",
        b"MSRP abcd SEND\r\nX: \x00",
        b"MSRP abcd 200 \x00",
        b"MSRP abcd SEND\r\nX: \xff",
        b"MSRP abcd SEND\r\nX: a\nb",
    ],
)
def test_heads_that_are_malformed(block):
    with pytest.raises(MalformedChunk):
        parse_head(block)


def test_of_headers_that_are_repeated_the_first_counts_but_all_challenges():
    block = b"MSRP abcd 401\r\nTo-Path: a\r\nto-path: b\r\nWWW-Authenticate: Digest a=b\r\nWWW-Authenticate: Digest c=d"
    assert parse_head(block).headers == {"To-Path": "a", "WWW-Authenticate": "Digest a=b, Digest c=d"}


def test_reports_are_wanted_as_the_rfc_has_it_by_default():
    chunk = MSRPData("abcd", method="SEND")
    assert (chunk.success_report, chunk.failure_report) == ("no", "yes")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30))
def test_coverage_is_a_set_of_positions(stretches):
    coverage, positions = Coverage(), set()
    for start, length in stretches:
        assert coverage.add(start, start + length)
        positions |= set(range(start, start + length))
        assert coverage.count == len(positions)
    for start in range(0, 80, 7):
        for end in range(start, 80, 5):
            assert coverage.contains(start, end) == positions.issuperset(range(start, end))


def test_coverage_is_bounded():
    coverage = Coverage()
    starts = list(range(0, 4 * MAX_GAPS, 4))
    random.Random(1).shuffle(starts)
    assert all(coverage.add(start, start + 1) for start in starts)
    assert not coverage.add(4 * MAX_GAPS, 4 * MAX_GAPS + 1)
    assert coverage.add(1, 2)


@pytest.mark.parametrize(
    ("offered", "preferred", "answer", "offerer_connects"),
    [
        (None, Setup.PASSIVE, None, True),
        (Setup.ACTPASS, Setup.PASSIVE, Setup.PASSIVE, True),
        (Setup.ACTPASS, Setup.ACTIVE, Setup.ACTIVE, False),
        (Setup.ACTIVE, Setup.ACTIVE, Setup.PASSIVE, True),
        (Setup.PASSIVE, Setup.PASSIVE, Setup.ACTIVE, False),
    ],
)
def test_one_party_connects(offered, preferred, answer, offerer_connects):
    assert answer_setup(offered, preferred) is answer
    assert is_active(True, answer) is offerer_connects
    assert is_active(False, answer) is not offerer_connects


def test_setup_is_read_from_the_sdp():
    assert [Setup.parse(text) for text in ("active", " ActPass ", "holdconn", None)] == [
        Setup.ACTIVE,
        Setup.ACTPASS,
        None,
        None,
    ]


def test_errors_say_what_happened():
    assert str(BindRefused("SEND", 481)) == "SEND was refused: 481 No Such Session"
    assert (
        str(MSRPTimeoutError("h", 1, "connecting", 30.0)) == "cannot connect to h:1: connecting took longer than 30 s"
    )
