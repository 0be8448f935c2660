"""RTP transports and the audio streams over them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace

import pytest

from sipsimple.core.media import snapshot
from sipsimple.core.media.audio import AudioTransport
from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.rtp import RTPTransport, default_address
from sipsimple.media import commands
from sipsimple.media.dtmf import MAX_QUEUED_DIGITS
from sipsimple.media.errors import CodecUnavailable, PortsExhausted
from sipsimple.sip.errors import PJSIPError, SIPCoreError
from sipsimple.sip.sdp import SDPAttribute, SDPConnection, SDPMediaStream, SDPSession


@pytest.fixture(autouse=True)
def codecs(host, monkeypatch):
    monkeypatch.setattr(MediaClient, "available_codecs", ["G722", "PCMU", "PCMA"])


def remote(port=4000, formats=("0", "101"), direction="sendrecv", address="192.0.2.5"):
    attributes = [SDPAttribute("rtpmap", "101 telephone-event/8000"), SDPAttribute(direction, "")]
    media = SDPMediaStream("audio", port, "RTP/AVP", formats=list(formats), attributes=attributes)
    return SDPSession(address, media=[media])


def opened(**options):
    transport = RTPTransport("127.0.0.1", **options)
    transport.set_INIT()
    return transport


def call(mixer, remote_sdp=None, **options):
    """A stream that we offered and the remote answered."""
    transport = opened()
    stream = AudioTransport(mixer, transport, **options)
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    stream.start(ours, remote_sdp or remote(), 0, 5, 6)
    return transport, stream


def test_a_transport_opens_its_ports_once(host, seen):
    transport = RTPTransport("127.0.0.1")
    assert (transport.state, transport.local_rtp_port) == ("NULL", None)
    MediaClient().port_range = (50000, 50100)
    transport.set_INIT()
    transport.set_INIT()
    assert host.sent(commands.OpenTransport) == [commands.OpenTransport(transport.id, "127.0.0.1", (50000, 50100))]
    assert (transport.state, transport.local_rtp_address, transport.local_rtp_port) == ("INIT", "127.0.0.1", 50000)
    assert seen.names == ["RTPTransportDidInitialize"]


async def test_a_transport_opens_without_blocking(host):
    MediaClient().start()
    transport = RTPTransport("127.0.0.1")
    host.hold.add(commands.OpenTransport)
    opening = asyncio.ensure_future(transport.open())
    await asyncio.sleep(0)
    transport.close()
    host.release()
    await opening
    assert (transport.state, transport.local_rtp_port) == ("INVALID", None)
    with pytest.raises(SIPCoreError, match="closed"):
        await transport.open()


def test_exhausted_ports_are_an_error(host):
    host.refuse[commands.OpenTransport] = PortsExhausted("127.0.0.1", 1, 2)
    transport = RTPTransport("127.0.0.1")
    with pytest.raises(PJSIPError):
        transport.set_INIT()
    assert transport.state == "NULL"


@pytest.mark.parametrize("arguments", [{"local_rtp_address": "localhost"}, {"ice_stun_address": "stun.example.com"}])
def test_addresses_are_literals(host, arguments):
    with pytest.raises(ValueError):
        RTPTransport(**arguments)


def test_without_srtp_and_ice_a_transport_is_plain(host):
    transport = opened(use_srtp=True, srtp_forced=True, use_ice=True, ice_stun_address="192.0.2.1")
    assert (transport.use_srtp, transport.srtp_forced, transport.use_ice) == (True, True, True)
    assert (transport.ice_stun_address, transport.ice_stun_port) == ("192.0.2.1", 3478)
    assert (transport.srtp_active, transport.ice_active) == (False, False)
    assert transport.local_rtp_candidate_type is transport.remote_rtp_candidate_type is None
    assert transport.remote_rtp_address_ice is transport.remote_rtp_port_ice is None


def test_a_transport_on_any_address_names_a_real_one(host):
    transport = RTPTransport()
    transport.set_INIT()
    assert host.sent(commands.OpenTransport)[0].address == "0.0.0.0"
    assert transport.local_rtp_address == default_address() != "0.0.0.0"


def test_a_dropped_transport_is_closed(host):
    transport = opened()
    id = transport.id
    del transport
    gc.collect()
    assert host.sent(commands.CloseTransport) == [commands.CloseTransport(id)]


def test_states_have_an_order(host):
    transport = RTPTransport("127.0.0.1")
    with pytest.raises(SIPCoreError, match="NULL"):
        transport.set_LOCAL(remote(), 0)
    with pytest.raises(SIPCoreError, match="NULL"):
        transport.set_ESTABLISHED(remote(), remote(), 0)


def test_an_offer_completes_the_media(host, mixer):
    transport = opened()
    stream = AudioTransport(mixer, transport, codecs=["PCMA", "PCMU"])
    assert transport.state == "LOCAL"
    media = stream.get_local_media(True, "sendonly")
    assert (media.port, media.transport, media.formats) == (50000, "RTP/AVP", ["8", "0", "101"])
    assert media.attributes.getfirst("rtcp") == "50001 IN IP4 127.0.0.1"
    assert media.direction == "sendonly"
    with pytest.raises(SIPCoreError):
        stream.get_local_media(True, "sideways")
    with pytest.raises(SIPCoreError, match="INIT"):
        AudioTransport(mixer, transport)


def test_an_answer_knows_the_remote(host, mixer):
    transport = opened()
    offer = SDPSession("192.0.2.5", media=[*remote().media, *remote(port=4002).media])
    stream = AudioTransport(mixer, transport, offer, 1)
    assert transport.state == "ESTABLISHED"
    assert (transport.remote_rtp_address_sdp, transport.remote_rtp_port_sdp) == ("192.0.2.5", 4002)
    assert stream.get_local_media(False).direction == "sendrecv"
    assert "rtcp" in stream.get_local_media(False).attributes


def test_a_stream_starts_as_both_sides_agreed(host, mixer):
    transport, stream = call(mixer)
    (start,) = host.sent(commands.StartStream)
    assert (start.mixer, start.slot, start.transport) == (mixer.id, 1, transport.id)
    config = start.config
    assert (config.remote_address, config.remote_rtp_port, config.codec) == ("192.0.2.5", 4000, "PCMU")
    assert (config.no_media_timeout, config.media_check_interval, config.telephone_event_type) == (5.0, 6.0, 101)
    assert (transport.state, transport.remote_rtp_port_sdp) == ("ESTABLISHED", 4000)
    assert (stream.slot, stream.codec, stream.sample_rate, stream.direction) == (1, "PCMU", 8000, "sendrecv")
    assert (stream.is_active, stream.is_started, stream.enable_silence_detection) == (True, True, True)
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    with pytest.raises(SIPCoreError, match="once"):
        stream.start(ours, remote(), 0)


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        (remote(port=0), {}, SIPCoreError),
        (remote(formats=["18"]), {}, SIPCoreError),
        (remote(), {"no_media_timeout": -1}, ValueError),
        (remote(), {"media_check_interval": -1}, ValueError),
    ],
)
def test_a_stream_that_cannot_start_says_why(host, mixer, answer, options, error):
    stream = AudioTransport(mixer, opened())
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    with pytest.raises(error):
        stream.start(ours, answer, 0, **options)
    assert (stream.is_started, mixer.used_slot_count) == (False, 0)


def test_a_stream_is_freed_without_the_garbage_collector(host, mixer):
    transport, stream = call(mixer)
    freed = weakref.ref(stream)
    gc.disable()
    try:
        stream.stop()
        transport.close()
        del stream, transport
        assert freed() is None
    finally:
        gc.enable()


def test_a_stream_that_the_engine_refuses_is_reported(host, mixer, seen):
    host.refuse[commands.StartStream] = CodecUnavailable("PCMU", "none")
    _, stream = call(mixer)
    assert not stream.is_active
    assert seen.names[-1] == "RTPAudioTransportDidFail"


def test_a_change_that_the_engine_refuses_ends_the_stream_and_is_reported(host, mixer, seen):
    _, stream = call(mixer)
    host.refuse[commands.UpdateStream] = CodecUnavailable("PCMU", "none")
    stream.update_direction("sendonly")
    assert (stream.is_active, mixer.used_slot_count) == (False, 0)
    assert len(host.sent(commands.StopStream)) == 1
    assert seen.names[-1] == "RTPAudioTransportDidFail"
    assert "PCMU" in seen[-1].data.reason


def test_direction_and_remote_change_in_the_same_slot(host, mixer):
    transport, stream = call(mixer)
    stream.update_direction("recvonly")
    stream.update_direction("recvonly")
    stream.update_direction("sendonly")
    assert stream.get_local_media(False).direction == "sendonly"
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    stream.update(ours, remote(port=4010, direction="recvonly", address="192.0.2.6"), 0)
    updates = [(c.config.direction, c.config.remote_rtp_port) for c in host.sent(commands.UpdateStream)]
    assert updates == [("recvonly", 4000), ("sendonly", 4000), ("sendonly", 4010)]
    assert (transport.remote_rtp_address_sdp, transport.remote_rtp_port_sdp) == ("192.0.2.6", 4010)
    with pytest.raises(SIPCoreError):
        stream.update_direction("sideways")
    stream.stop()
    with pytest.raises(SIPCoreError):
        stream.update_direction("sendrecv")
    with pytest.raises(SIPCoreError):
        stream.update(ours, remote(), 0)


def held_at(nowhere):
    session = remote(port=4010)
    session.connection = SDPConnection(nowhere, address_type="IP6" if ":" in nowhere else "IP4")
    return session


@pytest.mark.parametrize("nowhere", ["0.0.0.0", "::"])
def test_hold_by_an_address_of_nowhere_leaves_the_remote_where_it_was(host, mixer, nowhere):
    _, stream = call(mixer)
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    assert stream.can_use(held_at(nowhere), 0)
    stream.update(ours, held_at(nowhere), 0)
    held = host.sent(commands.UpdateStream)[-1].config
    assert (held.remote_address, held.remote_rtp_port, held.direction) == ("192.0.2.5", 4000, "recvonly")
    stream.update(ours, remote(address="192.0.2.6", port=4020), 0)
    back = host.sent(commands.UpdateStream)[-1].config
    assert (back.remote_address, back.remote_rtp_port, back.direction) == ("192.0.2.6", 4020, "sendrecv")


@pytest.mark.parametrize("nowhere", ["0.0.0.0", "::"])
def test_a_call_may_begin_on_hold_by_an_address_of_nowhere(host, mixer, nowhere):
    call(mixer, held_at(nowhere))
    (start,) = host.sent(commands.StartStream)
    assert (start.config.remote_address, start.config.direction) == ("0.0.0.0", "recvonly")


def test_a_stopped_stream_keeps_its_statistics(host, mixer):
    transport, stream = call(mixer)
    assert stream.statistics == host.statistics
    stream.stop()
    stream.stop()
    assert (stream.slot, stream.is_active, transport.state) == (None, False, "INIT")
    assert stream.statistics == host.statistics
    assert AudioTransport(mixer, transport).statistics is None


def test_statistics_that_are_asked_for_again_and_again_are_not_waited_for(host, mixer, monkeypatch):
    now = 100.0
    monkeypatch.setattr(snapshot, "time", SimpleNamespace(monotonic=lambda: now))
    _, stream = call(mixer)
    first = host.statistics
    assert stream.statistics is first, "the first reading waits"
    second = host.statistics = {"rtt": {}, "rx": {"packets": 51}, "tx": {"packets": 52}}
    host.hold = {commands.StreamStatistics}
    now += 1.0
    assert stream.statistics is stream.statistics is first
    assert len(host.held) == 1, "one question at a time"
    host.release()
    assert stream.statistics is second
    host.hold = set()
    now += snapshot.SNAPSHOT_AGE + 0.1
    third = host.statistics = {"rtt": {}, "rx": {"packets": 91}, "tx": {"packets": 92}}
    assert stream.statistics is third, "what nobody has asked for in a while is too old"


def test_statistics_of_an_engine_that_is_gone_are_the_last_ones(host, mixer):
    _, stream = call(mixer)
    before = stream.statistics
    MediaClient().stop()
    host.running = False
    host.start = lambda: None
    assert stream.statistics == before


def test_digits_are_queued_within_a_bound(host, mixer):
    _, stream = call(mixer)
    for digit in "0123456789*#ABCD" * (MAX_QUEUED_DIGITS // 16):
        stream.send_dtmf(digit)
    with pytest.raises(PJSIPError, match="PJ_ETOOMANY"):
        stream.send_dtmf("1")
    assert len(host.sent(commands.SendDTMF)) == MAX_QUEUED_DIGITS
    for digit in ("", "E", "12", "a"):
        with pytest.raises(SIPCoreError, match="Not a valid"):
            stream.send_dtmf(digit)
    stream.stop()
    with pytest.raises(SIPCoreError, match="not active"):
        stream.send_dtmf("1")


def test_digits_need_the_agreement_of_the_remote(host, mixer):
    _, stream = call(mixer, remote(formats=["0"]))
    stream.send_dtmf("1")
    assert not stream.has_telephone_event
    assert host.sent(commands.SendDTMF) == []


def test_events_of_the_stream(host, mixer, seen):
    transport, stream = call(mixer)
    id = host.sent(commands.StartStream)[0].stream
    del seen[:]
    host.on_event(commands.DTMFReceived(id, "7"))
    host.on_event(commands.FirstPacketReceived(id, "192.0.2.5", 4000))
    assert (transport.remote_rtp_address_received, transport.remote_rtp_port_received) == ("192.0.2.5", 4000)
    host.on_event(commands.RemoteAddressChanged(id, "192.0.2.77", 4444))
    host.on_event(commands.MediaTimeout(id, True))
    assert seen.names == ["RTPAudioStreamGotDTMF", "RTPAudioTransportDidNotGetRTP"]
    assert (seen[0].data.digit, seen[1].data.got_any) == ("7", True)
    assert (transport.remote_rtp_address_received, transport.remote_rtp_port_received) == ("192.0.2.77", 4444)
    stream.update_direction("recvonly")
    host.on_event(commands.MediaTimeout(id, True))
    assert len(seen) == 2


def test_volume_is_that_of_what_is_heard(host, mixer):
    transport = opened()
    stream = AudioTransport(mixer, transport)
    stream.volume = 50
    ours = SDPSession("127.0.0.1", media=[stream.get_local_media(True)])
    stream.start(ours, remote(), 0)
    stream.volume = 60
    assert [c.volume for c in host.sent(commands.SetVolume)] == [50, 60]
    assert stream.volume == 60
    with pytest.raises(ValueError):
        stream.volume = -1
