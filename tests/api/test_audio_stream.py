"""Audio streams as documented: two of them talk over loopback, through the media engine itself."""

from __future__ import annotations

import asyncio
import re
import wave
from datetime import datetime
from types import SimpleNamespace

import pytest

from sipsimple.audio import IAudioPort, WavePlayer
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, SDPConnection, SDPMediaStream, SDPSession, SIPCoreError
from sipsimple.core.media import MediaClient
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import Any, NotificationCenter, NotificationData
from sipsimple.sip.negotiation import Negotiator
from sipsimple.sip.uri import SIPURI
from sipsimple.streams import AudioStream, IMediaStream, InvalidStreamError, UnknownStreamError
from tests.api.test_audio import Seen, write_wave
from tests.support.agent import eventually

LIMIT = 5.0


@pytest.fixture(autouse=True)
async def middleware(nothing_left, tmp_path):
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    ConfigurationManager().start(MemoryBackend())
    SIPSimpleSettings().audio.directory = str(tmp_path / "recordings")
    client = MediaClient()
    client.port_range = (41000, 41400)
    client.voice_mixer = AudioMixer(None, None, 16000)
    yield client
    ConfigurationManager().stop()
    unbind_loop(loop)
    await asyncio.to_thread(client.stop)


def account(name="alice", codecs=("PCMU", "PCMA"), srtp_encryption="optional"):
    rtp = SimpleNamespace(audio_codec_list=codecs, srtp_encryption=srtp_encryption, use_srtp_without_tls=False)
    return SimpleNamespace(id=f"{name}@example.com", rtp=rtp)


def session(remote="bob", direction="outgoing"):
    uri = SIPURI("example.com", user=remote)
    return SimpleNamespace(remote_identity=SimpleNamespace(uri=uri), direction=direction, transport="udp")


def describe(media):
    return SDPSession("127.0.0.1", connection=SDPConnection("127.0.0.1"), media=[media])


class Side:
    """One party: its stream, what the stream told, and the negotiation of its dialog."""

    def __init__(self, stream, direction):
        self.stream = stream
        self.negotiator = Negotiator()
        self.seen = Seen(stream)
        self.seen.__enter__()
        self.direction = direction

    async def told(self, name):
        async with asyncio.timeout(LIMIT):
            while name not in self.seen.names:
                await NotificationCenter().wait(Any, self.stream, LIMIT)

    async def initialize(self):
        self.stream.initialize(session(direction=self.direction), self.direction)
        await self.told("MediaStreamDidInitialize")

    @property
    def agreed(self):
        return self.negotiator.active_local, self.negotiator.active_remote, 0

    def names(self):
        names = list(self.seen.names)
        del self.seen[:]
        return names


class Call:
    """Two streams in one call, the session's part played by hand."""

    @classmethod
    async def make(cls, caller_account=None, callee_account=None):
        call = cls()
        call.caller = Side(AudioStream(caller_account or account()), "outgoing")
        await call.caller.initialize()
        offer = describe(call.caller.stream.get_local_media(for_offer=True))
        callee = AudioStream.new_from_sdp(callee_account or account("bob"), offer, 0)
        call.callee = Side(callee, "incoming")
        await call.callee.initialize()
        call.exchange(call.caller, call.callee, offer)
        for side in (call.caller, call.callee):
            side.stream.start(*side.agreed)
            await side.told("MediaStreamDidStart")
        return call

    def exchange(self, offerer, answerer, offer):
        offerer.negotiator.set_local_offer(offer)
        answerer.negotiator.set_remote_offer(offer)
        local = describe(answerer.stream.get_local_media(for_offer=False))
        offerer.negotiator.set_remote_answer(answerer.negotiator.set_local_answer(local))

    def renegotiate(self, offerer, answerer):
        self.exchange(offerer, answerer, describe(offerer.stream.get_local_media(for_offer=True)))
        for side in (offerer, answerer):
            side.stream.update(*side.agreed)

    async def end(self):
        for side in (self.caller, self.callee):
            side.stream.deactivate()
            side.stream.end()
            await side.told("MediaStreamDidEnd")
            side.seen.__exit__()


@pytest.fixture
async def call(middleware):
    call = await Call.make()
    yield call
    await call.end()


async def until(condition):
    """Wait for something that no notification tells."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110  # the engine counts packets without telling anybody
            await asyncio.sleep(0.01)


@pytest.mark.spec(127, 138, 139, 140)
def test_a_stream_is_of_the_account_and_the_voice_mixer(middleware):
    stream = AudioStream(account())
    assert IMediaStream.providedBy(stream)
    assert IAudioPort.providedBy(stream)
    assert (AudioStream.type, AudioStream.priority, stream.hold_supported) == ("audio", 1, True)
    assert stream.mixer is middleware.voice_mixer
    assert list(stream.bridge) == [stream.device]
    assert stream.state == "NULL"
    middleware.voice_mixer = None
    with pytest.raises(RuntimeError, match="SIPApplication"):
        AudioStream(account())


@pytest.mark.spec(158, 159, 160, 161, 162, 163, 164, 165, 166, 167, 168, 169, 170)
def test_before_the_start_nothing_is_known():
    stream = AudioStream(account())
    for name in ("codec", "sample_rate", "local_rtp_address", "local_rtp_port", "remote_rtp_address_sdp"):
        assert getattr(stream, name) is None
    for name in ("remote_rtp_port_sdp", "remote_rtp_address_received", "remote_rtp_port_received", "statistics"):
        assert getattr(stream, name) is None
    for name in ("local_rtp_candidate_type", "remote_rtp_candidate_type", "recording_filename", "remote_rtp_address"):
        assert getattr(stream, name) is None
    assert (stream.consumer_slot, stream.producer_slot, stream.remote_rtp_port) == (None, None, None)
    assert (stream.srtp_active, stream.ice_active, stream.recording_active) == (False, False, False)


@pytest.mark.spec(128)
def test_offers_that_are_taken_and_refused():
    def new(media, who=None):
        return AudioStream.new_from_sdp(who or account(), describe(media), 0)

    assert isinstance(new(SDPMediaStream("audio", 4000, "RTP/AVP", formats=["0"])), AudioStream)
    with pytest.raises(UnknownStreamError):
        new(SDPMediaStream("message", 4000, "TCP/MSRP", formats=["*"]))
    with pytest.raises(InvalidStreamError, match="RTP/SAVP"):
        new(SDPMediaStream("audio", 4000, "RTP/SAVP", formats=["0"]))
    with pytest.raises(InvalidStreamError, match="SRTP"):
        new(SDPMediaStream("audio", 4000, "RTP/AVP", formats=["0"]), account(srtp_encryption="mandatory"))


@pytest.mark.spec(129, 130, 144, 162, 163)
async def test_an_initialized_stream_makes_an_offer():
    side = Side(AudioStream(account(codecs=("PCMA", "PCMU"))), "outgoing")
    with pytest.raises(RuntimeError):
        side.stream.get_local_media(for_offer=True)
    with pytest.raises(RuntimeError):
        side.stream.start(None, None, 0)
    await side.initialize()
    with pytest.raises(RuntimeError):
        side.stream.initialize(session(), "outgoing")
    port = side.stream.local_rtp_port
    assert port % 2 == 0
    assert 41000 <= port <= 41400
    media = side.stream.get_local_media(for_offer=True)
    address = side.stream.local_rtp_address
    assert str(media.media) == "audio"
    assert (media.port, media.transport, media.formats) == (port, "RTP/AVP", ["8", "0", "101"])
    assert [str(attribute) for attribute in media.attributes] == [
        f"rtcp:{port + 1} IN IP4 {address}",
        "rtpmap:8 PCMA/8000",
        "rtpmap:0 PCMU/8000",
        "rtpmap:101 telephone-event/8000",
        "fmtp:101 0-15",
        "sendrecv",
    ]
    side.stream.end()
    side.stream.end()
    assert side.seen.names == ["MediaStreamDidInitialize", "MediaStreamWillEnd", "MediaStreamDidEnd"]
    assert side.stream.state == "ENDED"


@pytest.mark.spec(146, 147, 148, 137)
async def test_a_stream_that_cannot_be_initialized_says_why(middleware):
    taken = await Call.make()
    middleware.port_range = (taken.caller.stream.local_rtp_port, taken.caller.stream.local_rtp_port + 1)
    side = Side(AudioStream(account()), "outgoing")
    side.stream.initialize(session(), "outgoing")
    await side.told("MediaStreamDidFail")
    assert "in use" in side.seen[0].data.reason
    assert isinstance(side.seen[0].data.timestamp, datetime)
    side.stream.end()
    assert side.seen.names == ["MediaStreamDidFail", "MediaStreamWillEnd", "MediaStreamDidEnd"]
    await taken.end()


async def test_an_account_that_demands_srtp_gets_no_stream_without():
    side = Side(AudioStream(account(srtp_encryption="mandatory")), "outgoing")
    side.stream.initialize(session(), "outgoing")
    await side.told("MediaStreamDidFail")
    assert "SRTP" in side.seen[0].data.reason


async def test_a_stream_that_was_never_initialized_ends_in_silence():
    stream = AudioStream(account())
    with Seen(stream) as seen:
        stream.end()
    assert (stream.state, seen) == ("ENDED", [])


async def test_a_stream_may_end_while_it_is_initialized():
    side = Side(AudioStream(account()), "outgoing")
    side.stream.initialize(session(), "outgoing")
    side.stream.end()
    await side.told("MediaStreamDidEnd")
    assert side.seen.names == ["MediaStreamWillEnd", "MediaStreamDidEnd"]


@pytest.mark.spec(131, 145, 158, 159, 164, 165, 166, 167)
async def test_two_streams_hear_each_other(call):
    one, two = call.caller.stream, call.callee.stream
    assert (one.state, one.codec, one.sample_rate) == ("ESTABLISHED", "PCMU", 8000)
    assert (one.remote_rtp_address_sdp, one.remote_rtp_port_sdp) == ("127.0.0.1", two.local_rtp_port)
    assert (one.remote_rtp_address, one.remote_rtp_port) == ("127.0.0.1", two.local_rtp_port)
    assert one in one.bridge
    assert isinstance(one.consumer_slot, int)
    assert one.consumer_slot == one.producer_slot
    await until(lambda: one.statistics["rx"]["packets"] > 5)
    assert one.statistics["tx"]["packets"] > 5
    await until(lambda: one.remote_rtp_port_received is not None)
    assert one.remote_rtp_port_received == two.local_rtp_port
    assert one.remote_rtp_address_received in ("127.0.0.1", two.local_rtp_address)
    assert call.caller.names() == ["MediaStreamDidInitialize", "AudioPortDidChangeSlots", "MediaStreamDidStart"]


@pytest.mark.spec(23)
async def test_a_muted_stream_is_not_heard(call):
    stream = call.caller.stream
    call.caller.names()
    slot = stream.producer_slot
    stream.muted = True
    assert (stream.producer_slot, stream.consumer_slot) == (None, slot)
    assert (slot, 0) not in stream.mixer.connected_slots
    stream.muted = True
    stream.muted = False
    assert call.caller.names() == ["AudioPortDidChangeSlots"] * 2
    assert (slot, 0) in stream.mixer.connected_slots
    with pytest.raises(ValueError):
        stream.muted = None


@pytest.mark.spec(134, 135, 141, 142, 143, 171)
async def test_hold_and_unhold(call):
    one, two = call.caller.stream, call.callee.stream
    for side in (call.caller, call.callee):
        side.names()
    one.hold()
    one.hold()
    assert one not in one.bridge
    assert one.get_local_media(for_offer=True).direction == "sendonly"
    call.renegotiate(call.caller, call.callee)
    assert (one.on_hold_by_local, one.on_hold_by_remote, one.on_hold) == (True, False, True)
    assert (two.on_hold_by_local, two.on_hold_by_remote, two.on_hold) == (False, True, True)
    assert two in two.bridge
    (change,) = call.caller.seen
    assert (change.name, change.data.originator, change.data.on_hold) == (
        "AudioStreamDidChangeHoldState",
        "local",
        True,
    )
    assert isinstance(change.data.timestamp, datetime)
    (change,) = call.callee.seen
    assert (change.data.originator, change.data.on_hold) == ("remote", True)
    # The other party holds, too: nobody sends any more.
    two.hold()
    assert two.get_local_media(for_offer=True).direction == "inactive"
    call.renegotiate(call.callee, call.caller)
    assert one.on_hold_by_remote
    two.unhold()
    one.unhold()
    assert one.get_local_media(for_offer=True).direction == "recvonly"
    call.renegotiate(call.callee, call.caller)
    call.renegotiate(call.caller, call.callee)
    assert not one.on_hold_by_local
    assert one in one.bridge


async def test_a_hold_that_was_never_agreed_is_undone_at_once(call):
    stream = call.caller.stream
    call.caller.names()
    stream.hold()
    stream.unhold()
    assert stream in stream.bridge
    assert stream.get_local_media(for_offer=True).direction == "sendrecv"
    assert call.caller.names() == []


@pytest.mark.spec(132, 133, 176)
async def test_a_change_of_parameters_is_told(call):
    one = call.caller.stream
    call.caller.names()
    media = call.callee.stream.get_local_media(for_offer=False)
    media.formats = ["18"]
    media.attributes = []
    assert not one.validate_update(describe(media), 0)
    media.port = 0
    assert one.validate_update(describe(media), 0)
    moved = call.callee.stream.get_local_media(for_offer=True)
    moved.port += 100
    assert one.validate_update(describe(moved), 0)
    assert one.remote_rtp_port_sdp == call.callee.stream.local_rtp_port
    call.caller.negotiator.set_remote_offer(describe(moved))
    call.caller.negotiator.set_local_answer(describe(one.get_local_media(for_offer=False)))
    one.update(*call.caller.agreed)
    assert one.remote_rtp_port_sdp == moved.port
    assert call.caller.names() == ["AudioPortDidChangeSlots", "AudioStreamDidChangeRTPParameters"]
    one.update(*call.caller.agreed)
    assert call.caller.names() == []


@pytest.mark.spec(153, 155, 170, 172, 173, 174, 175)
async def test_both_sides_are_recorded(call, tmp_path):
    stream = call.caller.stream
    call.caller.names()
    player = WavePlayer(stream.mixer, write_wave(tmp_path / "x.wav", 0.3))
    call.callee.stream.bridge.add(player)
    path = str(tmp_path / "deep" / "rec.wav")
    started = stream.start_recording(path)
    assert (stream.recording_active, stream.recording_filename) == (True, path)
    with pytest.raises(RuntimeError, match="already"):
        stream.start_recording(path)
    assert await started == path
    ended = asyncio.ensure_future(NotificationCenter().wait("WavePlayerDidEnd", player, LIMIT))
    await player.start()
    await ended
    stopped = stream.stop_recording()
    await stopped
    with pytest.raises(RuntimeError, match="not being recorded"):
        stream.stop_recording()
    assert (stream.recording_active, stream.recording_filename) == (False, None)
    told = [n for n in call.caller.seen if "Recording" in n.name]
    assert [n.name for n in told] == [
        "AudioStreamWillStartRecordingAudio",
        "AudioStreamDidStartRecordingAudio",
        "AudioStreamWillStopRecordingAudio",
        "AudioStreamDidStopRecordingAudio",
    ]
    assert {n.data.filename for n in told} == {path}
    assert all(isinstance(n.data.timestamp, datetime) for n in told)
    with wave.open(path) as file:
        data = memoryview(file.readframes(file.getnframes())).cast("h")
    assert max(data) > 4000


async def frames_of(call, count):
    """Wait until so many more packets have come."""
    stream = call.callee.stream
    wanted = stream.statistics["rx"]["packets"] + count
    await eventually(lambda: stream.statistics["rx"]["packets"] >= wanted, "packets")


async def test_the_sides_are_recorded_apart_if_that_is_wanted(call, tmp_path):
    stream = call.caller.stream
    ours = WavePlayer(stream.mixer, write_wave(tmp_path / "ours.wav", 10, value=9000))
    theirs = WavePlayer(stream.mixer, write_wave(tmp_path / "theirs.wav", 10, value=-6000))
    stream.bridge.add(ours)
    call.callee.stream.bridge.add(theirs)
    members = len(list(stream.bridge))
    path = await stream.start_recording(str(tmp_path / "sides.wav"), separate=True)
    assert len(list(stream.bridge)) == members
    await ours.start()
    await theirs.start()
    await frames_of(call, 20)
    await stream.stop_recording()
    with wave.open(path) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16000)
        data = memoryview(file.readframes(file.getnframes())).cast("h")
    left, right = data[0::2].tolist(), data[1::2].tolist()
    assert len(left) == len(right) > 20 * 320
    assert max(left) == 9000
    assert min(left) >= 0
    assert min(right) < -5000
    assert max(right) < 1000
    for player in (ours, theirs):
        player.stop()


async def test_sides_recorded_apart_are_silent_on_hold(call, tmp_path):
    stream = call.caller.stream
    theirs = WavePlayer(stream.mixer, write_wave(tmp_path / "theirs.wav", 10, value=-6000))
    call.callee.stream.bridge.add(theirs)
    stream.hold()
    path = await stream.start_recording(str(tmp_path / "sides.wav"), separate=True)
    await theirs.start()
    await frames_of(call, 20)
    stream.unhold()
    await frames_of(call, 20)
    await stream.stop_recording()
    with wave.open(path) as file:
        data = memoryview(file.readframes(file.getnframes())).cast("h")
    right = data[1::2].tolist()
    assert set(right[: 15 * 320]) == {0}
    assert min(right) < -5000
    theirs.stop()


@pytest.mark.spec(154)
async def test_a_recording_has_a_name_of_time_and_party(call, tmp_path):
    stream = call.caller.stream
    stream.session.remote_identity.uri.user = "../../e vil"
    path = await stream.start_recording()
    directory, _, name = path.rpartition("/")
    assert directory == str(tmp_path / "recordings" / "alice@example.com")
    assert re.fullmatch(r"\d{8}-\d{6}-\.\._\.\._e_vil@example\.com-outgoing\.wav", name)
    await stream.stop_recording()
    assert await stream.start_recording("other.wav") == f"{directory}/other.wav"


@pytest.mark.spec(153)
async def test_nothing_is_recorded_on_hold(call, tmp_path):
    stream = call.caller.stream
    await stream.start_recording(str(tmp_path / "x.wav"))
    members = len(list(stream.bridge))
    stream.hold()
    assert len(list(stream.bridge)) == members - 2
    assert stream.recording_active
    call.renegotiate(call.caller, call.callee)
    stream.unhold()
    call.renegotiate(call.caller, call.callee)
    assert len(list(stream.bridge)) == members


async def test_a_recording_that_cannot_be_written_stops(call, tmp_path):
    stream = call.caller.stream
    (tmp_path / "file").write_text("")
    call.caller.names()
    with pytest.raises(SIPCoreError):
        await stream.start_recording(str(tmp_path / "file" / "x.wav"))
    assert not stream.recording_active
    assert call.caller.seen.names == ["AudioStreamWillStartRecordingAudio", "AudioStreamDidStopRecordingAudio"]
    assert call.caller.seen[1].data.reason


async def test_the_end_of_a_stream_completes_its_recording(tmp_path):
    call = await Call.make()
    path = await call.caller.stream.start_recording(str(tmp_path / "x.wav"))
    call.caller.names()
    await call.end()
    assert call.caller.seen.names == [
        "MediaStreamWillEnd",
        "AudioStreamWillStopRecordingAudio",
        "AudioStreamDidStopRecordingAudio",
        "AudioPortDidChangeSlots",
        "MediaStreamDidEnd",
    ]
    wave.open(path).close()


@pytest.mark.spec(153, 156)
async def test_what_needs_a_started_stream():
    stream = AudioStream(account())
    with pytest.raises(RuntimeError):
        stream.start_recording()
    with pytest.raises(RuntimeError):
        stream.stop_recording()
    with pytest.raises(RuntimeError):
        stream.send_dtmf("1")


@pytest.mark.spec(157)
async def test_digits_are_checked_and_queued(call, middleware):
    stream = call.caller.stream
    for digit in ("E", "", "12"):
        with pytest.raises(SIPCoreError):
            stream.send_dtmf(digit)
    # More digits than can wait are lost in silence.
    with pytest.MonkeyPatch.context() as patch:
        sent = []
        patch.setattr(middleware, "post", sent.append)
        for _ in range(50):
            stream.send_dtmf("1")
    assert len(sent) == 32


async def test_a_digit_of_the_remote_is_told(call):
    call.callee.names()
    NotificationCenter().post_notification(
        "RTPAudioStreamGotDTMF", call.callee.stream._audio, NotificationData(digit="7", inband=False)
    )
    (told,) = call.callee.seen
    assert (told.name, told.data.digit) == ("AudioStreamGotDTMF", "7")
    assert isinstance(told.data.timestamp, datetime)


async def test_a_stream_that_the_engine_gives_up_fails(call):
    call.callee.names()
    data = NotificationData(reason="no sockets left")
    NotificationCenter().post_notification("RTPAudioTransportDidFail", call.callee.stream._audio, data)
    (told,) = call.callee.seen
    assert (told.name, told.data.reason) == ("MediaStreamDidFail", "no sockets left")


async def test_after_the_end_nothing_is_left(middleware):
    call = await Call.make()
    used = middleware.voice_mixer.used_slot_count
    await call.end()
    assert (used, middleware.voice_mixer.used_slot_count) == (2, 0)
    stream = call.caller.stream
    assert (stream.codec, stream.local_rtp_port, stream.consumer_slot) == (None, None, None)
    assert list(stream.bridge) == []
    assert middleware.voice_mixer.connected_slots == []


async def test_the_statistics_tell_how_good_the_call_sounds(call):
    stream = call.caller.stream
    await eventually(lambda: stream.statistics["rx"]["packets"] >= 10, "packets")
    values = stream.statistics
    assert values["codec"] == stream.codec
    assert values["rx"]["mos"] > 4
    assert values["rx"]["concealed"] < 0.1
    assert 0 <= values["rx"]["buffer_delay"] < 500_000
    assert values["tx"]["mos"] is None or values["tx"]["mos"] > 4
