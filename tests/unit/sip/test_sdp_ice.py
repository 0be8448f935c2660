"""What descriptions say of ICE: candidates in and out, and what is taken from strangers (RFC 8839 5)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.sip.sdp import FrozenSDPAttribute, SDPConnection, SDPMediaStream, SDPSession
from sipsimple.sip.sdp.attributes import MalformedSDP
from sipsimple.sip.sdp.ice import MAX_CANDIDATES, TYPES, ICECandidate, ICEDescription

USER, PASSWORD = "2701ed80", "asd88fgpdd777uzjYhagZg"
HOST = "1 1 UDP 2130706431 192.0.2.1 4000 typ host"
ADDRESSES = st.ip_addresses(v=4).filter(lambda it: not (it.is_unspecified or it.is_multicast)) | st.ip_addresses(
    v=6
).filter(lambda it: not (it.is_unspecified or it.is_multicast))
CANDIDATES = st.builds(
    ICECandidate,
    st.text("abcXYZ019+/", min_size=1, max_size=32),
    st.sampled_from([1, 2]),
    st.integers(1, 2**31 - 1),
    ADDRESSES.map(str),
    st.integers(1, 65535),
    st.sampled_from(TYPES),
)


def described(*candidates: str, address: str = "192.0.2.1", port: int = 4000, **more: str) -> SDPSession:
    lines = {"ice-ufrag": USER, "ice-pwd": PASSWORD, **{name.replace("_", "-"): value for name, value in more.items()}}
    attributes = [FrozenSDPAttribute(name, value) for name, value in lines.items()]
    attributes += [FrozenSDPAttribute("candidate", value) for value in candidates]
    media = SDPMediaStream("audio", port, "RTP/AVP", formats=["0"], attributes=attributes)
    return SDPSession(address, connection=SDPConnection(address), media=[media])


@given(CANDIDATES, st.none() | st.tuples(ADDRESSES.map(str), st.integers(0, 65535)))
@settings(max_examples=200)
def test_reading_is_the_inverse_of_writing(candidate: ICECandidate, related: tuple[str, int] | None):
    if related is not None:
        values = [getattr(candidate, name) for name in candidate.__slots__[:6]]
        candidate = ICECandidate(*values, *related)
    assert ICECandidate.parse(str(candidate)) == candidate


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*HOST.split(), "raddr", "rport", "-1", "999999", "::"])).map(" ".join)
)
@settings(max_examples=300)
def test_whatever_comes_is_read_or_refused(value: str):
    try:
        candidate = ICECandidate.parse(value)
    except MalformedSDP:
        return
    assert ICECandidate.parse(str(candidate)) == candidate


def test_a_candidate_as_others_write_it():
    text = "S 1 UDP 31 80.101.96.20 55328 typ srflx raddr 192.168.1.6 rport 55328 generation 0 network-cost 50"
    candidate = ICECandidate.parse(text)
    assert candidate == ICECandidate("S", 1, 31, "80.101.96.20", 55328, "srflx", "192.168.1.6", 55328)
    assert str(candidate) == text.partition(" generation")[0]


@pytest.mark.parametrize(
    "value",
    [
        HOST.replace("UDP", "TCP"),
        HOST.replace("192.0.2.1", "phone.local"),
        HOST.replace("192.0.2.1", "0.0.0.0"),
        HOST.replace("192.0.2.1", "224.0.0.1"),
        HOST.replace("192.0.2.1", "1.2.3.4.5"),
        HOST.replace("4000", "0"),
        HOST.replace("4000", "65536"),
        HOST.replace("1 1 ", "1 3 "),
        HOST.replace("typ host", "typ guest"),
        HOST.replace("2130706431", "0"),
        HOST.replace("2130706431", str(2**31)),
        HOST.replace("2130706431", "\u0661\u0662"),
        "",
    ],
)
def test_candidates_that_cannot_be_used_are_refused(value: str):
    with pytest.raises(MalformedSDP):
        ICECandidate.parse(value)


def test_unusable_candidates_are_left_out_of_a_description():
    found = ICEDescription.of(described(HOST, HOST.replace("UDP", "TCP"), "rubbish", HOST), 0)
    assert found is not None
    assert [str(it) for it in found.candidates] == [HOST]
    assert (found.username, found.password, found.lite, found.mismatch) == (USER, PASSWORD, False, False)


def test_the_number_of_candidates_is_bounded():
    found = ICEDescription.of(described(*(HOST.replace("4000", str(4000 + n)) for n in range(60))), 0)
    assert found is not None
    assert len(found.candidates) == MAX_CANDIDATES


@pytest.mark.parametrize(
    "sdp",
    [
        described(),
        described("rubbish"),
        described(HOST, ice_pwd="tooshort"),
        described(HOST, ice_ufrag="abc"),
        described(HOST, ice_ufrag="with space"),
        described(HOST, ice_pwd="x" * 257),
        described(HOST, ice_mismatch=""),
    ],
    ids=lambda sdp: str(len(str(sdp))),
)
def test_without_what_is_needed_there_is_no_ice(sdp: SDPSession):
    assert ICEDescription.of(sdp, 0) is None


@pytest.mark.parametrize(
    ("address", "port", "mismatch"),
    [("192.0.2.1", 4000, False), ("192.0.2.9", 4000, True), ("192.0.2.1", 4002, True), ("0.0.0.0", 9, False)],
)
def test_a_default_destination_that_is_no_candidate_is_a_mismatch(address: str, port: int, mismatch: bool):
    found = ICEDescription.of(described(HOST, address=address, port=port), 0)
    assert found is not None
    assert found.mismatch is mismatch


def test_a_lite_remote_says_so_for_the_whole_session():
    sdp = described(HOST)
    sdp.attributes = [FrozenSDPAttribute("ice-lite", "")]
    found = ICEDescription.of(sdp, 0)
    assert found is not None
    assert found.lite


def test_credentials_may_stand_for_the_whole_session():
    sdp = described(HOST)
    media = sdp.media[0]
    sdp.attributes = [it for it in media.attributes if it.name.startswith("ice-")]
    media.attributes = [it for it in media.attributes if not it.name.startswith("ice-")]
    found = ICEDescription.of(sdp, 0)
    assert found is not None
    assert found.password == PASSWORD


def test_the_password_is_not_shown():
    found = ICEDescription.of(described(HOST), 0)
    assert PASSWORD not in repr(found)
