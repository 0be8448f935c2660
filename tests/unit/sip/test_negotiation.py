"""Offer and answer: codecs, directions, sections, and whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import SDPNegotiationError, SIPCoreInvalidStateError
from sipsimple.sip.negotiation import (
    Negotiator,
    answer_audio,
    direction_of,
    intersect_direction,
    make_answer,
    next_version,
    normalise,
    refuse,
)
from sipsimple.sip.sdp import SDPAttribute, SDPConnection, SDPMediaStream, SDPSession
from sipsimple.sip.sdp.codecs import Codec, agreed_codecs, codecs_of

DIRECTIONS = ["sendrecv", "sendonly", "recvonly", "inactive"]


def media(formats: str, *attributes: str, port: int = 40000, kind: str = "audio", transport: str = "RTP/AVP") -> Any:
    """A media from texts: `media("0 101", "rtpmap:101 telephone-event/8000")`."""
    pairs = [attribute.partition(":") for attribute in attributes]
    return SDPMediaStream(
        kind,
        port,
        transport,
        formats=formats.split(),
        attributes=[SDPAttribute(name, value) for name, _, value in pairs],
    )


def session(*streams: SDPMediaStream, **options: Any) -> SDPSession:
    return SDPSession("192.0.2.1", 1, 1, media=list(streams), **options)


def described(stream: SDPMediaStream) -> list[str]:
    return [str(attribute) for attribute in stream.attributes]


OURS = media(
    "96 9 0 8 101 102",
    "rtcp:40001 IN IP4 192.0.2.1",
    "rtpmap:96 opus/48000/2",
    "fmtp:96 useinbandfec=1",
    "rtpmap:9 G722/8000",
    "rtpmap:0 PCMU/8000",
    "rtpmap:8 PCMA/8000",
    "rtpmap:101 telephone-event/8000",
    "fmtp:101 0-15",
    "rtpmap:102 telephone-event/48000",
    "fmtp:102 0-15",
    "sendrecv",
)
MESSAGE = media("*", "path:msrp://h:2855/x;tcp", kind="message", transport="TCP/MSRP")


class TestCodecs:
    def test_formats_mean_their_rtpmap_or_their_static_number(self) -> None:
        stream = media("0 96 97 9 * 200", "rtpmap:96 Opus/48000/2", "fmtp:96  stereo=1; x=2", "rtpmap:9 foo/x")
        assert codecs_of(stream) == [
            Codec(0, "PCMU", 8000),
            Codec(96, "Opus", 48000, 2, "stereo=1; x=2"),
            Codec(9, "G722", 8000),
        ]

    def test_codecs_match_by_name_rate_and_channels(self) -> None:
        opus = Codec(96, "opus", 48000, 2)
        assert opus.matches(Codec(111, "OPUS", 48000, 2))
        assert not opus.matches(Codec(96, "opus", 48000, 1))
        assert not opus.matches(Codec(96, "opus", 16000, 2))
        assert Codec(0, "PCMU", 8000).matches(Codec(100, "pcmu", 8000))

    def test_a_static_number_is_stronger_than_a_wrong_rtpmap(self) -> None:
        assert Codec(9, "G722", 8000).matches(Codec(9, "G722", 16000))
        assert not Codec(96, "a", 8000).matches(Codec(96, "b", 8000))

    def test_each_side_numbers_what_it_receives(self) -> None:
        agreement = agreed_codecs(OURS, media("111 99", "rtpmap:111 opus/48000/2", "rtpmap:99 telephone-event/48000"))
        assert (agreement.send.payload_type, agreement.receive.payload_type) == (111, 96)
        assert agreement.send_event == Codec(99, "telephone-event", 48000)
        assert agreement.receive_event == Codec(102, "telephone-event", 48000, fmtp="0-15")

    def test_companions_are_no_codecs(self) -> None:
        with pytest.raises(SDPNegotiationError, match="no common codec for audio"):
            agreed_codecs(media("13 101", "rtpmap:101 telephone-event/8000"), media("13 101", *described(OURS)))

    def test_long_lines_of_spaces_are_read_in_linear_time(self) -> None:
        gap = " " * 60_000
        assert codecs_of(media("96", f"rtpmap:96 a/1{gap}", f"fmtp:96{gap}x{gap}")) == [Codec(96, "a", 1, fmtp="x")]
        assert codecs_of(media("96", f"rtpmap:96{gap}", f"fmtp:96{gap}")) == []

    @given(st.lists(st.text(max_size=12)), st.lists(st.text(max_size=12)))
    def test_any_text_gives_codecs(self, formats: list[str], maps: list[str]) -> None:
        stream = media("0 96", *(f"rtpmap:{text}" for text in maps if text.isprintable()))
        stream.formats = [word for text in formats for word in text.split() if word.isprintable()]
        codecs_of(stream)


class TestAudioAnswer:
    def test_the_offerers_favourite_wins_under_the_offerers_number(self) -> None:
        offer = media("18 120 8 0 110", "rtpmap:120 OPUS/48000/2", "rtpmap:110 telephone-event/8000", "fmtp:110 0-11")
        answer = answer_audio(offer, OURS)
        assert answer.formats == ["120", "110"]
        assert described(answer) == [
            "rtcp:40001 IN IP4 192.0.2.1",
            "rtpmap:120 OPUS/48000/2",
            "rtpmap:110 telephone-event/8000",
            "fmtp:120 useinbandfec=1",
            "fmtp:110 0-15",
            "sendrecv",
        ]

    def test_static_types_need_no_rtpmap(self) -> None:
        answer = answer_audio(media("3 8 0"), OURS)
        assert answer.formats == ["8"]
        assert answer.attributes.getall("rtpmap") == ["8 PCMA/8000"]

    def test_telephone_events_follow_the_clock_of_the_codec(self) -> None:
        events = ("rtpmap:101 telephone-event/8000", "rtpmap:102 telephone-event/48000")
        assert answer_audio(media("96 101 102", "rtpmap:96 opus/48000/2", *events), OURS).formats == ["96", "102"]
        assert answer_audio(media("0 102 101", *events), OURS).formats == ["0", "101"]

    def test_telephone_events_need_both_sides(self) -> None:
        assert answer_audio(media("0"), OURS).formats == ["0"]
        assert answer_audio(OURS, media("0")).formats == ["0"]

    def test_no_common_codec(self) -> None:
        with pytest.raises(SDPNegotiationError, match="no common codec"):
            answer_audio(media("18 99 100", "rtpmap:99 opus/48000"), OURS)

    @pytest.mark.parametrize(
        ("offered", "wish", "answered"),
        [
            *(("inactive", wish, "inactive") for wish in DIRECTIONS),
            *(("sendrecv", wish, wish) for wish in DIRECTIONS),
            ("sendonly", "sendrecv", "recvonly"),
            ("sendonly", "recvonly", "recvonly"),
            ("sendonly", "sendonly", "inactive"),
            ("sendonly", "inactive", "inactive"),
            ("recvonly", "sendrecv", "sendonly"),
            ("recvonly", "sendonly", "sendonly"),
            ("recvonly", "recvonly", "inactive"),
            ("recvonly", "inactive", "inactive"),
        ],
    )
    def test_directions(self, offered: str, wish: str, answered: str) -> None:
        assert intersect_direction(wish, offered) == answered
        assert answer_audio(media("0", offered), media("0", "rtpmap:0 PCMU/8000", wish)).direction == answered

    def test_the_direction_of_the_session_counts_for_a_silent_media(self) -> None:
        offer = session(media("0"), media("0", "sendrecv"), attributes=[SDPAttribute("sendonly", "")])
        assert [direction_of(offer, index) for index in (0, 1)] == ["sendonly", "sendrecv"]
        answer = make_answer(offer, session(media("0"), media("0")))
        assert [stream.direction for stream in answer.media] == ["recvonly", "sendrecv"]

    @pytest.mark.parametrize(("direction", "means"), [("sendrecv", "sendonly"), ("recvonly", "inactive")])
    def test_the_address_zero_is_the_hold_of_old(self, direction: str, means: str) -> None:
        offer = session(media("0", direction), media("0", direction), connection=SDPConnection("0.0.0.0"))
        offer.media[1].connection = SDPConnection("192.0.2.1")
        assert [direction_of(offer, index) for index in (0, 1)] == [means, direction]
        offer.media[0].attributes.append(SDPAttribute("ice-ufrag", "x"))
        assert direction_of(offer, 0) == direction


class TestAnswer:
    def test_sections_are_answered_in_place(self) -> None:
        offer = session(media("0"), MESSAGE, media("0", port=0), media("31", kind="video"))
        local = session(OURS, MESSAGE, OURS, media("0", port=0, kind="video"))
        answer = make_answer(offer, local)
        assert [(stream.media, stream.port) for stream in answer.media] == [
            ("audio", 40000),
            ("message", 40000),
            ("audio", 0),
            ("video", 0),
        ]
        assert answer.media[3].formats == ["31"]
        assert answer.id == local.id

    def test_a_message_media_keeps_its_lines_and_mirrors_the_direction(self) -> None:
        offer = session(media("*", "path:x", "sendonly", kind="message", transport="TCP/MSRP"))
        [stream] = make_answer(offer, session(MESSAGE)).media
        assert described(SDPMediaStream.new(stream)) == ["path:msrp://h:2855/x;tcp", "recvonly"]

    @pytest.mark.parametrize(
        ("local", "text"),
        [
            (session(), "0 media"),
            (session(OURS, OURS), "2 media"),
            (session(MESSAGE), "section 0 is audio in the offer, message in the answer"),
            (session(media("0", transport="RTP/SAVP")), "RTP/SAVP"),
            (session(media("18")), "no common codec"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, local: SDPSession, text: str) -> None:
        with pytest.raises(SDPNegotiationError, match=text):
            make_answer(session(media("0")), local)

    def test_a_refusal_is_a_copy_with_port_0(self) -> None:
        refused = refuse(OURS)
        assert refused.port == 0
        refused.port = OURS.port
        assert refused == OURS

    def test_normalise_cuts_and_closes(self) -> None:
        local = session(media("0"), media("0", port=0), media("0"), media("0"))
        remote = session(media("0"), media("0"), media("0", port=0))
        pair = normalise(local, remote)
        assert [[stream.port for stream in side.media] for side in pair] == [[40000, 0, 0]] * 2
        assert [len(local.media), local.media[2].port] == [4, 40000]

    def test_the_next_version_is_one_more(self) -> None:
        before = session(OURS)
        after = next_version(before)
        assert (after.id, after.version, after.media) == (before.id, before.version + 1, before.media)
        after.media[0].port = 0
        assert before.media[0].port == 40000


class TestNegotiator:
    def test_we_offer(self) -> None:
        negotiator = Negotiator()
        assert negotiator.state == "idle"
        offer = session(OURS, MESSAGE)
        negotiator.set_local_offer(offer)
        assert (negotiator.state, negotiator.proposed_local, negotiator.active_local) == ("local_offer", offer, None)
        answer = session(media("8", "recvonly"), media("*", port=0, kind="message", transport="TCP/MSRP"))
        negotiator.set_remote_answer(answer)
        assert (negotiator.state, negotiator.proposed_local, negotiator.proposed_remote) == ("done", None, None)
        assert negotiator.active_local is not None
        assert [stream.port for stream in negotiator.active_local.media] == [40000, 0]
        assert negotiator.active_local.media[0].direction == "sendonly"
        assert negotiator.active_remote == answer

    def test_the_remote_offers(self) -> None:
        negotiator = Negotiator()
        offer = session(media("8 0"))
        negotiator.set_remote_offer(offer)
        assert (negotiator.state, negotiator.proposed_remote) == ("remote_offer", offer)
        answer = negotiator.set_local_answer(session(OURS))
        assert answer.media[0].formats == ["8"]
        assert (negotiator.state, negotiator.active_local, negotiator.active_remote) == ("done", answer, offer)
        assert negotiator.proposed_remote is None

    def test_a_wrong_local_answer_leaves_the_offer_open(self) -> None:
        negotiator = Negotiator()
        negotiator.set_remote_offer(session(media("8")))
        with pytest.raises(SDPNegotiationError):
            negotiator.set_local_answer(session(media("0")))
        assert negotiator.state == "remote_offer"
        negotiator.set_local_answer(session(OURS))

    @pytest.mark.parametrize(
        "answer",
        [session(), session(OURS, OURS, OURS), session(MESSAGE, OURS), session(media("18"), MESSAGE)],
    )
    def test_a_wrong_remote_answer_drops_the_offer(self, answer: SDPSession) -> None:
        negotiator = Negotiator()
        negotiator.set_local_offer(session(OURS, MESSAGE))
        with pytest.raises(SDPNegotiationError):
            negotiator.set_remote_answer(answer)
        assert negotiator.state == "idle"
        negotiator.set_local_offer(session(OURS))

    def test_a_section_that_was_not_offered_cannot_be_accepted(self) -> None:
        negotiator = Negotiator()
        negotiator.set_local_offer(session(media("0", port=0)))
        with pytest.raises(SDPNegotiationError, match="not offered"):
            negotiator.set_remote_answer(session(media("0")))

    def test_an_answer_may_add_codecs_beside_ours(self) -> None:
        negotiator = Negotiator()
        negotiator.set_local_offer(session(media("0")))
        negotiator.set_remote_answer(session(media("18 0")))
        assert negotiator.state == "done"

    def test_a_refused_offer_leaves_the_session_as_it_was(self) -> None:
        negotiator = Negotiator()
        negotiator.set_local_offer(session(OURS))
        negotiator.set_remote_answer(session(media("0")))
        before = negotiator.active_local, negotiator.active_remote
        negotiator.set_local_offer(next_version(session(OURS, MESSAGE)))
        negotiator.cancel()
        assert (negotiator.state, negotiator.active_local, negotiator.active_remote) == ("done", *before)

    def test_a_later_offer_cannot_lose_sections(self) -> None:
        negotiator = Negotiator()
        negotiator.set_local_offer(session(OURS, MESSAGE))
        negotiator.set_remote_answer(session(media("0"), MESSAGE))
        with pytest.raises(SDPNegotiationError, match="1 media in a session that has 2"):
            negotiator.set_local_offer(session(OURS))
        with pytest.raises(SDPNegotiationError, match="1 media in a session that has 2"):
            negotiator.set_remote_offer(session(media("0")))
        assert negotiator.state == "done"

    def test_out_of_turn_nothing_changes(self) -> None:
        negotiator = Negotiator()
        with pytest.raises(SIPCoreInvalidStateError):
            negotiator.set_local_answer(session(OURS))
        with pytest.raises(SIPCoreInvalidStateError):
            negotiator.set_remote_answer(session(OURS))
        negotiator.set_local_offer(session(OURS))
        for speak in (negotiator.set_local_offer, negotiator.set_remote_offer, negotiator.set_local_answer):
            with pytest.raises(SIPCoreInvalidStateError):
                speak(session(MESSAGE))
        assert negotiator.proposed_local == session(OURS)
        assert negotiator.state == "local_offer"


@given(st.permutations(["0", "8", "9", "96"]), st.permutations(["0", "8", "9", "96"]), st.data())
def test_both_ends_agree(offered: list[str], known: list[str], data: st.DataObject) -> None:
    """Whatever two of our own kind offer and answer, each sends what the other expects."""
    opus = "rtpmap:96 opus/48000/2"
    wishes = [data.draw(st.sampled_from(DIRECTIONS)) for _ in range(2)]
    caller, callee = Negotiator(), Negotiator()
    offer = session(media(" ".join(offered[: data.draw(st.integers(1, 4))]), opus, wishes[0]))
    caller.set_local_offer(offer)
    callee.set_remote_offer(offer)
    local = session(media(" ".join(known[: data.draw(st.integers(1, 4))]), opus, wishes[1]))
    try:
        answer = callee.set_local_answer(local)
    except SDPNegotiationError:
        assert not set(offer.media[0].formats) & set(local.media[0].formats)
        return
    caller.set_remote_answer(answer)
    assert caller.active_local is not None
    assert callee.active_local is not None
    [ours], [theirs] = caller.active_local.media, callee.active_local.media
    assert agreed_codecs(ours, theirs).send.matches(agreed_codecs(theirs, ours).receive)
    assert intersect_direction("sendrecv", ours.direction) == theirs.direction
