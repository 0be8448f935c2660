"""Session descriptions: the values of the documented API and their text."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.frozen import frozenlist
from sipsimple.sip.sdp import (
    BaseSDPSession,
    FrozenSDPAttribute,
    FrozenSDPConnection,
    FrozenSDPMediaStream,
    FrozenSDPSession,
    MalformedSDP,
    SDPAttribute,
    SDPConnection,
    SDPMediaStream,
    SDPSession,
)
from sipsimple.sip.sdp.reader import MAX_LINES, MAX_SDP_SIZE

AUDIO_OFFER = b"""\
v=0\r
o=- 3467525278 3467525278 IN IP4 192.168.1.6\r
s=blink-0.10.7-beta\r
c=IN IP4 80.101.96.20\r
t=0 0\r
m=audio 55328 RTP/AVP 104 9 0 101\r
a=rtcp:55329 IN IP4 80.101.96.20\r
a=rtpmap:104 speex/32000\r
a=rtpmap:9 G722/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-15\r
a=ice-ufrag:2701ed80\r
a=ice-pwd:6f8f8281\r
a=candidate:H 1 UDP 23 192.168.1.6 55328 typ host\r
a=sendrecv\r
"""

BARE = b"v=0\no=- 1 2 IN IP4 h\ns=-\nt=0 0\n"


def audio(**options: Any) -> SDPMediaStream:
    return SDPMediaStream("audio", 40000, "RTP/AVP", formats=["0"], **options)


class TestValues:
    def test_the_defaults_are_those_documented(self) -> None:
        session = SDPSession("192.0.2.1")
        assert abs(session.id - (time.time() + 2208988800)) < 5
        assert session.version == session.id
        assert (session.user, session.net_type, session.address_type, session.name) == ("-", "IN", "IP4", " ")
        assert (session.info, session.connection, session.start_time, session.stop_time) == (None, None, 0, 0)
        assert (session.attributes, session.media) == ([], [])

    def test_attributes_can_be_asked_by_name(self) -> None:
        media = audio()
        media.attributes = [SDPAttribute("crypto", "1"), SDPAttribute("crypto", "2")]  # type: ignore[assignment]
        for attributes in (media.attributes, FrozenSDPMediaStream.new(media).attributes):
            assert "crypto" in attributes
            assert "rtcp" not in attributes
            assert SDPAttribute("crypto", "2") in attributes
            assert attributes.getall("crypto") == ["1", "2"]
            assert attributes.getall("rtcp") == []
            assert attributes.getfirst("crypto") == "1"
            assert attributes.getfirst("rtcp") is None
            assert attributes.getfirst("rtcp", "none") == "none"

    @pytest.mark.parametrize("direction", ["sendrecv", "sendonly", "recvonly", "inactive"])
    def test_the_first_direction_counts(self, direction: str) -> None:
        names = ["rtcp", direction, "inactive"]
        assert audio(attributes=[SDPAttribute(name, "") for name in names]).direction == direction

    def test_without_direction_media_flows_both_ways(self) -> None:
        assert audio().direction == "sendrecv"

    @pytest.mark.parametrize("missing", [None, "ice-pwd", "ice-ufrag", "candidate"])
    def test_an_ice_proposal_has_three_parts(self, missing: str | None) -> None:
        ice = [SDPAttribute(name, "x") for name in ("ice-pwd", "ice-ufrag", "candidate") if name != missing]
        assert SDPSession("h", attributes=ice).has_ice_proposal is (missing is None)
        assert SDPSession("h", media=[audio(), audio(attributes=ice)]).has_ice_proposal is (missing is None)
        video = SDPMediaStream("video", 1, "RTP/AVP", attributes=ice)
        assert not SDPSession("h", media=[video]).has_ice_proposal

    def test_frozen_and_mutable_compare_equal_and_info_does_not_count(self) -> None:
        session = SDPSession("h", info="a", media=[audio(info="b")], connection=SDPConnection("h"))
        frozen = FrozenSDPSession.new(session)
        assert frozen == session
        assert FrozenSDPSession.new(frozen) is frozen
        thawed = SDPSession.new(frozen)
        thawed.info = thawed.media[0].info = None
        assert thawed == session
        assert hash(FrozenSDPSession.new(thawed)) == hash(frozen)
        thawed.media[0].port = 0
        assert thawed != session
        assert session != "session"

    def test_frozen_values_need_frozen_parts(self) -> None:
        with pytest.raises(TypeError):
            FrozenSDPSession("h", media=frozenlist([audio()]))
        with pytest.raises(TypeError):
            FrozenSDPSession("h", attributes=[FrozenSDPAttribute("a", "")])
        with pytest.raises(TypeError):
            FrozenSDPSession("h", connection=SDPConnection("h"))
        with pytest.raises(AttributeError):
            FrozenSDPConnection("h").address = "i"

    @pytest.mark.parametrize(
        "options",
        [
            {"media": ["audio"]},
            {"attributes": ["rtcp"]},
            {"attributes": None, "media": "x"},
            {"name": None},
            {"start_time": None},
        ],
    )
    def test_wrong_types_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(TypeError):
            SDPSession("h", **options)

    def test_a_base_class_cannot_be_instantiated(self) -> None:
        with pytest.raises(TypeError):
            BaseSDPSession("h")

    def test_the_limits_are_those_documented(self) -> None:
        SDPSession("h", attributes=[SDPAttribute("a", "")] * 68, media=[audio()] * 16)
        with pytest.raises(SIPCoreError, match="68"):
            SDPSession("h", attributes=[SDPAttribute("a", "")] * 69)
        with pytest.raises(SIPCoreError, match="68"):
            audio(attributes=[SDPAttribute("a", "")] * 69)
        with pytest.raises(SIPCoreError, match="16"):
            SDPSession("h", media=[audio()] * 17)
        with pytest.raises(SIPCoreError, match="32"):
            SDPMediaStream("audio", 1, "RTP/AVP", formats=["0"] * 33)

    def test_a_list_that_grew_too_long_is_noticed_when_it_is_encoded(self) -> None:
        session = SDPSession("h")
        session.media.extend([audio()] * 17)
        with pytest.raises(SIPCoreError, match="16"):
            session.encode()

    @pytest.mark.parametrize(
        "build",
        [
            lambda: SDPAttribute("a", "b\r\na=c"),
            lambda: SDPAttribute("a:b", ""),
            lambda: SDPAttribute("", ""),
            lambda: SDPConnection("1.2.3.4 x"),
            lambda: SDPMediaStream("au dio", 1, "RTP/AVP"),
            lambda: SDPMediaStream("audio", 65536, "RTP/AVP"),
            lambda: SDPMediaStream("audio", -1, "RTP/AVP"),
            lambda: SDPMediaStream("audio", 1, "RTP/AVP", formats=["0 8"]),
            lambda: SDPSession("h", name="a\nb"),
            lambda: SDPSession("h", id=2**64),
            lambda: SDPSession("h", name="\ud800"),
        ],
    )
    def test_what_could_not_be_read_back_is_refused(self, build: Any) -> None:
        with pytest.raises(ValueError):
            build()

    def test_texts(self) -> None:
        session = SDPSession("192.0.2.1", media=[audio(), SDPMediaStream("message", 2855, "TCP/MSRP")])
        assert str(session) == (
            '<SDPSession for "192.0.2.1": <SDPMediaStream for "audio" on port 40000>, '
            '<SDPMediaStream for "message" on port 2855>>'
        )
        assert repr(SDPAttribute("rtcp", "5")) == "SDPAttribute('rtcp', '5')"
        assert repr(FrozenSDPConnection("h")) == "FrozenSDPConnection('h', 'IN', 'IP4')"


class TestText:
    def test_a_description_is_written_in_the_order_of_the_rfc(self) -> None:
        media = audio(
            port_count=2, info="track", connection=SDPConnection("h2"), attributes=[SDPAttribute("sendrecv", "")]
        )
        session = SDPSession(
            "2001:db8::1",
            1,
            2,
            address_type="IP6",
            name="ü",
            info="talk",
            connection=SDPConnection("2001:db8::2", address_type="IP6"),
            attributes=[SDPAttribute("tool", "a b")],
            media=[media],
        )
        assert session.encode().decode() == (
            "v=0\r\no=- 1 2 IN IP6 2001:db8::1\r\ns=ü\r\ni=talk\r\nc=IN IP6 2001:db8::2\r\nt=0 0\r\na=tool:a b\r\n"
            "m=audio 40000/2 RTP/AVP 0\r\ni=track\r\nc=IN IP4 h2\r\na=sendrecv\r\n"
        )

    def test_the_audio_offer_of_the_documentation(self) -> None:
        session = FrozenSDPSession.parse(AUDIO_OFFER)
        assert session.encode() == AUDIO_OFFER
        assert (session.id, session.name, session.has_ice_proposal) == (3467525278, "blink-0.10.7-beta", True)
        assert session.connection == SDPConnection("80.101.96.20")
        [media] = session.media
        assert (media.media, media.port, media.transport) == ("audio", 55328, "RTP/AVP")
        assert media.formats == ["104", "9", "0", "101"]
        assert media.attributes.getfirst("fmtp") == "101 0-15"

    def test_bare_line_feeds_unknown_lines_and_gaps_are_accepted(self) -> None:
        data = (
            b"v=0\no=u 1 2 IN IP4 h\nu=http://x\ne=a@b\np=+1\nb=AS:64\nz=0 0\nk=clear:x\nr=1\n\n"
            b"m=message 2855 TCP/TLS/MSRP\nb=AS:1\nk=prompt\na=path:msrps://h:2855/x;tcp\n"
        )
        session = FrozenSDPSession.parse(data)
        assert (session.name, session.start_time, session.stop_time) == (" ", 0, 0)
        [media] = session.media
        assert (media.formats, media.attributes.getfirst("path")) == ([], "msrps://h:2855/x;tcp")

    def test_octets_that_are_not_utf_8_survive(self) -> None:
        data = BARE.replace(b"s=-", b"s=\xff\xe4").replace(b"\n", b"\r\n")
        assert FrozenSDPSession.parse(data).encode() == data

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"v=1\r\n",
            b"o=- 1 2 IN IP4 h\r\nv=0\r\n",
            b"v=0\r\n",
            b"v=0\no=- 1 IN IP4 h\n",
            b"v=0\no=- x 2 IN IP4 h\n",
            b"v=0\no=- 1 99999999999999999999 IN IP4 h\n",
            BARE + b"c=IN 192.0.2.1\n",
            BARE + b"a=:x\n",
            BARE + b"garbage\n",
            BARE + b"s=a\rb\n",
            BARE + b"m=audio 1\n",
            BARE + b"m=audio x RTP/AVP 0\n",
            BARE + b"m=audio 65536 RTP/AVP 0\n",
            BARE + b"m=audio 1/x RTP/AVP 0\n",
            b"v=0\no=- 1 2 IN IP4 h\nt=x y\n",
        ],
    )
    def test_what_is_no_description_raises(self, data: bytes) -> None:
        with pytest.raises(MalformedSDP) as raised:
            FrozenSDPSession.parse(data)
        assert raised.value.status == 400

    @pytest.mark.parametrize(
        "data",
        [
            BARE + b"a=x\n" * 69,
            BARE + b"m=audio 1 RTP/AVP\n" * 17,
            BARE + b"m=audio 1 RTP/AVP" + b" 0" * 33,
            BARE + b"b=x\n" * MAX_LINES,
            BARE + b"s=" + b"x" * MAX_SDP_SIZE,
        ],
    )
    def test_too_much_of_anything_raises(self, data: bytes) -> None:
        with pytest.raises(MalformedSDP) as raised:
            FrozenSDPSession.parse(data)
        assert raised.value.status == 413


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
names = words.filter(lambda name: ":" not in name)
attributes = st.lists(st.builds(FrozenSDPAttribute, names, lines), max_size=4).map(frozenlist)
connections = st.none() | st.builds(FrozenSDPConnection, words, words, words)
numbers = st.integers(0, 2**64 - 1)
media = st.builds(
    FrozenSDPMediaStream,
    words,
    st.integers(0, 65535),
    words,
    st.integers(0, 9),
    st.lists(words, max_size=4).map(frozenlist),
    st.none() | lines,
    connections,
    attributes,
)
sessions = st.builds(
    FrozenSDPSession,
    *(words, numbers, numbers, words, words, words, lines, st.none() | lines, connections, numbers, numbers),
    *(attributes, st.lists(media, max_size=3).map(frozenlist)),
)


@given(sessions)
def test_value_and_text_are_inverse(session: FrozenSDPSession) -> None:
    parsed = FrozenSDPSession.parse(session.encode())
    assert parsed == session
    assert parsed.info == session.info
    assert [item.info for item in parsed.media] == [item.info for item in session.media]
    assert FrozenSDPSession.parse(SDPSession.new(parsed).encode()) == session


@given(st.lists(st.sampled_from(AUDIO_OFFER.split(b"\r\n")) | st.binary(max_size=20), max_size=20))
def test_the_parser_raises_one_exception_only(parts: list[bytes]) -> None:
    with contextlib.suppress(MalformedSDP):
        session = FrozenSDPSession.parse(BARE + b"\n".join(parts))
        assert SDPSession.new(session) == session
