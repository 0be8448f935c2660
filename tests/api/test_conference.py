"""Audio conferences: rows 279 to 288."""

from __future__ import annotations

import pytest

from sipsimple.application import SIPApplication
from sipsimple.audio import AudioBridge
from sipsimple.conference import AudioConference
from sipsimple.session import SessionManager
from sipsimple.streams import AudioStream
from tests.support.agent import Agent


async def three_parties(agent: Agent) -> list[AudioStream]:
    """The called sides of three audio calls."""
    streams = []
    for _ in range(3):
        caller, callee = await agent.talking(AudioStream(agent.account))
        streams.append(callee.streams[0])
        caller.streams[0].device.output_muted = True
    return streams


def audible(listener: AudioStream, speaker: AudioStream) -> bool:
    """Whether sound comes from one to the other, through whatever ports of bridges there are in between."""
    connected = SIPApplication.voice_audio_mixer.connected_slots
    ends = {0} | {stream.consumer_slot for session in SessionManager().sessions for stream in session.streams}
    reached: set[int | None] = set()
    fresh = {speaker.producer_slot}
    while fresh:
        fresh = {destination for source, destination in connected if source in fresh} - reached
        reached |= fresh
        fresh -= ends
    return listener.consumer_slot in reached


@pytest.mark.spec(279, 280, 281, 286, 287, 288)
async def test_everybody_hears_everybody_else(agent: Agent):
    first, second, third = await three_parties(agent)
    conference = AudioConference()
    assert isinstance(conference.bridge, AudioBridge)
    assert (conference.streams, conference.on_hold) == ([], False)
    assert not audible(first, second)
    for stream in (first, second, third, first):
        conference.add(stream)
    assert conference.streams == [first, second, third]
    for listener in conference.streams:
        for speaker in conference.streams:
            assert audible(listener, speaker) == (listener is not speaker)
    assert first.device.input_muted


@pytest.mark.spec(282, 283)
async def test_a_removed_stream_is_heard_locally_only(agent: Agent):
    first, second, _ = await three_parties(agent)
    conference = AudioConference()
    conference.add(first)
    conference.add(second)
    conference.remove(second)
    assert not audible(first, second)
    assert not second.device.input_muted
    assert (second.producer_slot, 0) in SIPApplication.voice_audio_mixer.connected_slots
    with pytest.raises(ValueError, match="take part"):
        conference.remove(second)


@pytest.mark.spec(284, 285)
async def test_hold_takes_only_the_local_party_out(agent: Agent):
    first, second, _ = await three_parties(agent)
    conference = AudioConference()
    conference.add(first)
    conference.add(second)
    conference.hold()
    conference.hold()
    assert conference.on_hold
    assert conference.device not in conference.bridge
    assert audible(first, second)
    conference.unhold()
    conference.unhold()
    assert not conference.on_hold
    assert conference.device in conference.bridge


def test_without_an_application_there_is_no_conference():
    with pytest.raises(RuntimeError, match="start SIPApplication"):
        AudioConference()
