"""Fingerprints of certificates in descriptions, and who begins a DTLS handshake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.sdp import FrozenSDPSession, MalformedSDP
from sipsimple.sip.sdp.fingerprint import Fingerprint, fingerprint_of, setup_of


def described(session: str = "", media: str = "") -> FrozenSDPSession:
    return FrozenSDPSession.parse(
        f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{session}m=audio 4 RTP/AVP 0\r\n{media}".encode()
    )


@given(st.sampled_from(["sha-224", "sha-256", "sha-384", "sha-512"]), st.binary(max_size=40))
def test_what_is_printed_is_read(algorithm, certificate):
    fingerprint = Fingerprint.of(certificate, algorithm)
    assert Fingerprint.parse(str(fingerprint)) == fingerprint
    assert Fingerprint.parse(str(fingerprint).lower()) == fingerprint
    assert fingerprint.matches(certificate)
    assert not fingerprint.matches(certificate + b"x")


@given(st.text(max_size=200) | st.text("sha-256 0123456789ABCDEF:", max_size=120))
def test_a_stranger_cannot_make_it_fail(text):
    try:
        Fingerprint.parse(text)
    except MalformedSDP:
        return


@pytest.mark.parametrize(
    "value", ["md5 " + "00:" * 15 + "00", "sha-1 " + "00:" * 19 + "00", "sha-256 00:11", "sha-256"]
)
def test_what_proves_nothing_is_refused(value):
    with pytest.raises(MalformedSDP):
        Fingerprint.parse(value)


def test_the_media_goes_before_the_session():
    one, two = (f"a=fingerprint:{Fingerprint.of(text)}\r\n" for text in (b"1", b"2"))
    weak = "a=fingerprint:sha-1 " + "00:" * 19 + "00\r\n"
    assert fingerprint_of(described(one, two), 0) == Fingerprint.of(b"2")
    assert fingerprint_of(described(one, weak), 0) == Fingerprint.of(b"1")
    assert fingerprint_of(described("", weak + two), 0) == Fingerprint.of(b"2")
    assert fingerprint_of(described(), 0) is None


def test_who_begins_is_told_by_media_or_session():
    assert setup_of(described("a=setup:active\r\n", "a=setup:PASSIVE\r\n"), 0) == "passive"
    assert setup_of(described("a=setup:actpass\r\n"), 0) == "actpass"
    assert setup_of(described("a=setup:sometimes\r\n"), 0) is None
