"""The process of the media engine is killed in the middle of a call: the call fails, and the next one has sound."""

from __future__ import annotations

import asyncio
import os
import signal

import numpy as np
import pytest

from sipsimple.audio import WavePlayer
from sipsimple.audio.pcm import PCMPort, PortClosed
from sipsimple.core.media import MediaClient
from sipsimple.media import commands
from sipsimple.streams import AudioStream
from tests.api.test_audio import write_wave
from tests.support.agent import eventually, running_agent


async def hear(agent, ours, theirs):
    """Let one side say something, and wait until the other hears it."""
    mouth = PCMPort(agent.application.voice_audio_mixer, capture=False)
    ear = PCMPort(agent.application.voice_audio_mixer)
    mouth.start()
    ear.start()
    ours.bridge.add(mouth)
    theirs.bridge.add(ear)
    loud = np.tile(np.repeat(np.array([8000, -8000], np.int16), 20), 400)
    await mouth.write(loud)
    async with asyncio.timeout(10):
        async for frame in ear:
            if abs(frame.astype(int)).max() > 2000:
                break
    mouth.stop()
    ear.stop()


async def count(ear):
    return len([frame async for frame in ear])


def kill_engine():
    os.kill(MediaClient()._host.pid, signal.SIGKILL)


async def test_a_call_fails_with_the_media_engine_and_the_next_has_sound(nothing_left, monkeypatch, tmp_path):
    monkeypatch.setenv("SIPSIMPLE_MEDIA_HOST", "process")
    async with running_agent() as agent:
        voice = agent.application.voice_audio_mixer
        voice.input_volume = 80
        caller, callee = await agent.talking(AudioStream(agent.account))
        streams = [caller.streams[0], callee.streams[0]]
        await hear(agent, *streams)
        await streams[0].start_recording(str(tmp_path / "call.wav"))
        ear = PCMPort(voice)
        ear.start()
        write_wave(tmp_path / "long.wav", seconds=20)
        player = WavePlayer(voice, str(tmp_path / "long.wav"))
        await player.start()
        reading = asyncio.ensure_future(count(ear))
        written = ear.write(bytes(400_000))
        drained = ear.drain()
        kill_engine()
        for stream in streams:
            failure = await agent.record.until(stream, "MediaStreamDidFail")
            assert "the media engine died" in failure.reason
            assert "signal 9" in failure.reason
            await agent.record.until(stream, "MediaStreamDidEnd")
        for session in (caller, callee):
            await agent.record.until(session, "DidEnd")
        await eventually(lambda: "WavePlayerDidEnd" in agent.record.names(player), "the end of the player")
        with pytest.raises(PortClosed, match="died"):
            await written
        with pytest.raises(PortClosed, match="died"):
            await drained
        async with asyncio.timeout(5):
            assert await reading >= 0
        assert not ear.is_active
        assert agent.record.data(MediaClient(), "MediaEngineDidFail").restarted
        assert agent.application.voice_audio_mixer is voice
        assert voice.input_volume == 80

        caller, callee = await agent.talking(AudioStream(agent.account))
        await hear(agent, caller.streams[0], callee.streams[0])
        used = voice.used_slot_count
        await caller.end()
        await agent.record.until(callee, "DidEnd")
        await eventually(lambda: voice.used_slot_count == used - 2, "free slots")
        statistics = await MediaClient().acall(commands.EngineStatistics())
        assert statistics["streams"] == 0


async def test_a_call_that_is_being_set_up_fails_with_the_media_engine(nothing_left, monkeypatch):
    monkeypatch.setenv("SIPSIMPLE_MEDIA_HOST", "process")
    async with running_agent() as agent:
        stream = AudioStream(agent.account)
        session = agent.call(stream)
        incoming = await agent.incoming()
        kill_engine()
        await agent.record.until(stream, "MediaStreamDidFail")
        await eventually(lambda: session.state == incoming.state == "terminated", "the end of both")
