"""Keys of SRTP in descriptions: what is read, what is refused, and what two sides agree on (RFC 4568)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp import FrozenSDPSession, MalformedSDP
from sipsimple.sip.sdp.attributes import FrozenSDPAttribute, _known_attribute
from sipsimple.sip.sdp.crypto import KEY_SIZES, Crypto, common_crypto, hide_keys, usable_cryptos

KEY = bytes(range(30))
INLINE = "inline:" + base64.b64encode(KEY).decode()
AES = "AES_CM_128_HMAC_SHA1_80"


@given(st.integers(0, 999_999_999), st.sampled_from(sorted(KEY_SIZES)), st.binary(min_size=44, max_size=44))
def test_what_is_printed_is_read(tag, suite, octets):
    crypto = Crypto(tag, suite, octets[: KEY_SIZES[suite]])
    assert Crypto.parse(str(crypto)) == crypto


@given(st.text(max_size=80) | st.text("0123456789 AES_CMinline:|^;=+/-\t", max_size=120))
def test_a_stranger_cannot_make_it_fail(text):
    try:
        Crypto.parse(text)
    except (MalformedSDP, SDPNegotiationError):
        return


@given(st.sampled_from(["KDR=", "-x=", "WSH=", "FEC_KEY=", "inline:", "|", ";"]), st.text(max_size=20))
def test_hostile_endings_are_refused_or_harmless(kind, rest):
    for text in (f"1 {AES} {INLINE} {kind}{rest}", f"1 {AES} {INLINE}{kind}{rest}"):
        for crypto in usable_cryptos([text]):
            assert crypto == Crypto(1, AES, KEY)


@pytest.mark.parametrize("suite", sorted(KEY_SIZES))
def test_padding_may_be_left_out(suite):
    key = bytes(KEY_SIZES[suite])
    text = str(Crypto(1, suite, key))
    assert Crypto.parse(text.rstrip("=")).key == key


@pytest.mark.parametrize("ending", ["|2^20", "|2^48", "|1048576", "|2^31", " WSH=64", " WSH=1024", " -future=1", ""])
def test_lifetimes_and_hints_are_nothing_to_us(ending):
    assert Crypto.parse(f"1 {AES} {INLINE}{ending}").key == KEY


@pytest.mark.parametrize(
    "line",
    [
        f"1 {AES} {INLINE}|1:4",
        f"1 {AES} {INLINE}|2^20|1:4",
        f"1 {AES} {INLINE}|1:1;{INLINE}|2:1",
        f"1 {AES} {INLINE} UNENCRYPTED_SRTP",
        f"1 {AES} {INLINE} UNENCRYPTED_SRTCP",
        f"1 {AES} {INLINE} WSH=128 UNAUTHENTICATED_SRTP",
        f"1 {AES} {INLINE} KDR=20",
        f"1 {AES} {INLINE} WSH=10",
        f"1 {AES} {INLINE} FEC_ORDER=FEC_SRTP",
        f"1 {AES} {INLINE} FUTURE",
        f"1 F8_128_HMAC_SHA1_80 {INLINE}",
        f"1 NULL_HMAC_SHA1_80 {INLINE}",
    ],
)
def test_what_cannot_be_obeyed_is_refused(line):
    with pytest.raises(SDPNegotiationError):
        Crypto.parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        AES,
        f"1 {AES}",
        f"x {AES} {INLINE}",
        f"1 {AES} prompt:secret",
        f"1 {AES} inline:",
        f"1 {AES} inline:AAAA",
        f"1 {AES} {INLINE[:-1]}*",
        f"1 {AES} {INLINE}A",
        f"1 {AES} {INLINE}|0",
        f"1 {AES} {INLINE}|2^49",
        f"1 {AES} {INLINE}|2^20|2^20|2^20",
        f"1 {AES} {INLINE}|forever",
        f"1 {AES} {INLINE} " + "-x " * 400,
    ],
)
def test_what_is_no_key_is_malformed(line):
    with pytest.raises(MalformedSDP) as caught:
        Crypto.parse(line)
    assert INLINE.removeprefix("inline:") not in str(caught.value)


def test_a_key_is_not_told():
    assert "key" not in repr(Crypto(1, AES, KEY))


def test_the_first_line_that_can_be_obeyed_counts():
    lines = [f"1 {AES} {INLINE}|1:1", f"2 NEW {INLINE}", f"3 {AES} {INLINE}", f"3 AES_CM_128_HMAC_SHA1_32 {INLINE}"]
    assert usable_cryptos(lines) == [Crypto(3, AES, KEY)]


def test_tag_and_suite_make_the_agreement_whoever_offered():
    offer = [str(Crypto(1, AES, bytes(30))), str(Crypto(2, "AES_CM_128_HMAC_SHA1_32", bytes(30)))]
    answer = [str(Crypto(2, "AES_CM_128_HMAC_SHA1_32", KEY))]
    own, theirs = common_crypto(offer, answer)
    assert (own.tag, own.key, theirs.key) == (2, bytes(30), KEY)
    own, theirs = common_crypto(answer, offer)
    assert (own.key, theirs.key) == (KEY, bytes(30))
    assert common_crypto(offer, [str(Crypto(2, AES, KEY))]) is None
    assert common_crypto(offer, []) is None


def test_keys_are_hidden_from_readers():
    text = f"v=0\r\na=crypto:1 {AES} {INLINE}|2^20 WSH=64\r\na=CRYPTO:2 {AES} INLINE:secret\r\na=sendrecv\r\n"
    shown = hide_keys(text)
    assert INLINE[7:] not in shown
    assert "secret" not in shown
    assert f"a=crypto:1 {AES} inline:(hidden)\r\n" in shown
    assert shown.endswith("a=sendrecv\r\n")


def test_keys_are_not_remembered():
    before = _known_attribute.cache_info().currsize
    FrozenSDPAttribute.parse(f"crypto:1 {AES} {INLINE}")
    data = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4 RTP/AVP 0\r\na=crypto:1 {AES} {INLINE}\r\n".encode()
    assert FrozenSDPSession.parse(data) is not FrozenSDPSession.parse(data)
    assert _known_attribute.cache_info().currsize == before
