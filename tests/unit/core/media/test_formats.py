"""Codecs in session descriptions."""

from __future__ import annotations

import pytest

from sipsimple.core.media.formats import FORMATS, agree, formats_for, local_media, with_direction
from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp import SDPAttribute, SDPConnection, SDPMediaStream, SDPSession

ALL = [format.name for format in FORMATS]


def description(formats, rtpmaps=(), direction="sendrecv", port=4000, connection=None, extra=()):
    attributes = [SDPAttribute("rtpmap", value) for value in rtpmaps]
    attributes += [SDPAttribute(name, value) for name, value in extra]
    attributes.append(SDPAttribute(direction, ""))
    media = SDPMediaStream("audio", port, "RTP/AVP", formats=list(formats), attributes=attributes)
    if connection is not None:
        media.connection = SDPConnection(connection)
    return SDPSession("192.0.2.1", connection=SDPConnection("192.0.2.2"), media=[media])


OURS = SDPSession("192.0.2.9", media=[local_media(formats_for(["PCMU", "PCMA", "G722"], ALL, 16000), 5000)])


def test_formats_follow_the_names_and_the_mixer():
    assert [f.payload_type for f in formats_for(["PCMA", "speex"], ALL, 16000)] == [8, 103, 102]
    assert [f.name for f in formats_for(["G722", "opus", "pcmu"], ALL, 8000)] == ["opus", "PCMU"]
    assert formats_for(["PCMA", "PCMU"], ["PCMU"], 8000) == formats_for(["PCMU"], ALL, 8000)


def test_local_media_names_every_codec():
    media = local_media(formats_for(["opus", "PCMU"], ALL, 16000), 5000)
    assert media.formats == ["96", "0", "101", "100"]
    events = ["101 telephone-event/8000", "100 telephone-event/48000"]
    assert media.attributes.getall("rtpmap") == ["96 opus/48000/2", "0 PCMU/8000", *events]
    parameters = "96 useinbandfec=1;maxplaybackrate=16000;sprop-maxcapturerate=16000"
    assert media.attributes.getall("fmtp") == [parameters, "101 0-15", "100 0-15"]


def test_a_mixer_of_the_full_rate_limits_opus_in_nothing():
    (opus,) = formats_for(["opus"], ALL, 48000)
    assert (opus.parameters, opus.sample_rate) == ("useinbandfec=1", 48000)
    assert formats_for(["opus"], ALL, 44100) == [opus]


def test_digits_have_the_clock_of_the_codec_where_both_know_it():
    ours = SDPSession("192.0.2.9", media=[local_media(formats_for(["opus", "PCMU"], ALL, 16000), 5000)])
    events = ["110 telephone-event/8000", "111 telephone-event/48000"]
    found = agree(ours, description(["109", "0", "110", "111"], ["109 opus/48000/2", *events]), 0)
    assert (found.payload_type, found.receive_type) == (109, 96)
    assert (found.telephone_event_type, found.telephone_event_receive_type) == (111, 100)
    assert found.telephone_event_rate == 48000
    found = agree(ours, description(["109", "110"], ["109 opus/48000/2", events[0]]), 0)
    assert (found.telephone_event_type, found.telephone_event_receive_type) == (110, 101)
    assert found.telephone_event_rate == 8000


def test_what_the_remote_wants_of_a_codec_is_kept():
    ours = SDPSession("192.0.2.9", media=[local_media(formats_for(["opus"], ALL, 16000), 5000)])
    wanted = [("fmtp", "120 usedtx=1; maxaveragebitrate=20000"), ("ptime", "30")]
    found = agree(ours, description(["120"], ["120 opus/48000/2"], extra=wanted), 0)
    assert found.parameters == "usedtx=1; maxaveragebitrate=20000"
    # Opus has no packets of 30 ms (RFC 6716 2.1.4).
    assert found.ptime_ms == 20


def test_packets_are_no_longer_than_the_remote_takes():
    assert agree(OURS, description(["0"], extra=[("ptime", "60"), ("maxptime", "30")]), 0).ptime_ms == 30


def test_the_direction_comes_last_and_once():
    media = with_direction(with_direction(local_media([], 1), "sendonly"), "inactive")
    assert media.direction == "inactive"
    assert media.attributes[-1].name == "inactive"
    assert sum(a.name in ("sendonly", "inactive") for a in media.attributes) == 1


def test_agreement_is_the_first_common_codec_of_the_remote():
    found = agree(OURS, description(["18", "8", "0", "97"], ["97 telephone-event/8000"]), 0)
    assert (found.codec.name, found.payload_type, found.telephone_event_type) == ("PCMA", 8, 97)
    assert (found.remote_address, found.remote_rtp_port, found.remote_rtcp_port) == ("192.0.2.2", 4000, None)
    assert (found.direction, found.ptime_ms) == ("sendrecv", 20)


def test_dynamic_types_are_matched_by_name():
    found = agree(OURS, description(["120", "0"], ["120 g722/8000/1"]), 0)
    assert (found.codec.name, found.payload_type, found.codec.sample_rate) == ("G722", 120, 16000)


@pytest.mark.parametrize("remote", [(["18"],), (["101", "t38"], ["101 telephone-event/8000"])])
def test_without_a_common_codec_there_is_no_agreement(remote):
    with pytest.raises(SDPNegotiationError):
        agree(OURS, description(*remote), 0)


def test_a_codec_that_nobody_here_knows_is_no_agreement():
    with pytest.raises(SDPNegotiationError, match="G729"):
        agree(description(["18"]), description(["18"]), 0)


@pytest.mark.parametrize(
    ("remote", "ours"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_direction_is_what_both_want(remote, ours):
    assert agree(OURS, description(["0"], direction=remote), 0).direction == ours


def test_nobody_is_reached_at_the_null_address():
    assert agree(OURS, description(["0"], connection="0.0.0.0"), 0).direction == "recvonly"
    assert agree(OURS, description(["0"], connection="media.example.com"), 0).direction == "sendrecv"


@pytest.mark.parametrize(("ptime", "used"), [("30", 30), ("25", 20), ("5", 10), ("500", 60), ("x", 20), ("9" * 40, 20)])
def test_ptime_is_kept_within_what_is_sent(ptime, used):
    assert agree(OURS, description(["0"], extra=[("ptime", ptime)]), 0).ptime_ms == used


@pytest.mark.parametrize(
    ("rtcp", "port"), [("53020", 53020), ("53020 IN IP4 192.0.2.7", 53020), ("99999", None), ("x", None)]
)
def test_rtcp_port_of_the_description(rtcp, port):
    assert agree(OURS, description(["0"], extra=[("rtcp", rtcp)]), 0).remote_rtcp_port == port


def test_without_connection_the_origin_is_the_address():
    sdp = description(["0"])
    sdp.connection = None
    assert agree(OURS, sdp, 0).remote_address == "192.0.2.1"
