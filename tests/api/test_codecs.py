"""A call in each codec: both parties hear the tone of the other, and the stream tells what it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.audio import AudioBridge, WavePlayer, WaveRecorder
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import Engine, SIPCoreError
from sipsimple.media.libraries import why_missing
from sipsimple.streams import AudioStream
from tests.support.agent import SETTINGS, Agent, eventually, running_agent
from tests.support.tones import Tone, hear, write_tone

LEVEL = -12.0
SECONDS = 1.5
RATES = {"opus": 48000, "G722": 16000, "PCMU": 8000, "PCMA": 8000, "speex": 16000, "GSM": 8000}


def settings(**rtp: str) -> dict[str, Any]:
    return {
        **SETTINGS,
        "SIPSimpleSettings": {**SETTINGS["SIPSimpleSettings"], "rtp": {"port_range": "40000-44000", **rtp}},
    }


@asynccontextmanager
async def heard_by(stream: AudioStream, path: Path) -> AsyncIterator[None]:
    """Record what comes out of a stream."""
    recorder, ear = WaveRecorder(stream.mixer, str(path)), AudioBridge(stream.mixer)
    await recorder.start_soon()
    ear.add(stream)
    ear.add(recorder)
    try:
        yield
    finally:
        await recorder.stop()
        # Kept until here, because a bridge keeps nobody alive and nobody keeps it.
        del ear


async def tones_of(caller: AudioStream, callee: AudioStream, directory: Path) -> tuple[Tone, Tone]:
    """What each of the two hears of the other, who plays 1000 and 600 Hz."""
    players = []
    for name, stream, frequency in (("caller", caller, 1000), ("callee", callee, 600)):
        tone = write_tone(directory / f"{name}.wav", frequency, level=LEVEL, rate=16000)
        player = WavePlayer(stream.mixer, str(tone), loop_count=0)
        stream.bridge.add(player)
        await player.start()
        players.append(player)
    paths = directory / "caller-hears.wav", directory / "callee-hears.wav"
    async with AsyncExitStack() as stack:
        for stream, path in zip((caller, callee), paths, strict=True):
            await stack.enter_async_context(heard_by(stream, path))
        enough = 2 * 16000 * SECONDS
        await eventually(lambda: all(path.stat().st_size > enough for path in paths), "both hearing enough", 15)
    for player in players:
        player.stop()
    return hear(paths[0]), hear(paths[1])


async def conversing(agent: Agent) -> tuple[AudioStream, AudioStream]:
    caller, callee = await agent.talking(AudioStream(agent.account))
    return caller.streams[0], callee.streams[0]


@pytest.mark.spec(159, 160)
@pytest.mark.parametrize("codec", list(RATES))
async def test_both_hear_each_other(nothing_left, tmp_path, codec):
    if reason := why_missing(codec):
        pytest.skip(reason)
    async with running_agent(settings()) as agent:
        agent.account.rtp.audio_codec_list = [codec]
        caller, callee = await conversing(agent)
        assert (caller.codec, callee.codec) == (codec, codec)
        assert (caller.sample_rate, callee.sample_rate) == (RATES[codec], RATES[codec])
        at_caller, at_callee = await tones_of(caller, callee, tmp_path)
        for tone, frequency in ((at_caller, 600), (at_callee, 1000)):
            assert tone.frequency == pytest.approx(frequency, abs=2), tone
            # GSM and Speex model a voice, of which a tone is none.
            within = 3 if codec in ("GSM", "speex") else 1
            assert tone.level == pytest.approx(LEVEL, abs=within), tone
            assert tone.purity > (0.8 if codec in ("GSM", "speex") else 0.98), tone
        await caller.session.end()


async def test_the_first_codec_of_the_settings_is_spoken(nothing_left):
    async with running_agent(settings()) as agent:
        caller, _ = await conversing(agent)
        assert caller.codec == "opus"
        SIPSimpleSettings().rtp.audio_codec_list = ["PCMA", "opus"]
        SIPSimpleSettings().save()
        other, _ = await conversing(agent)
        assert other.codec == "PCMA"
        media = other.session._invitation.sdp.active_remote.media[0]
        assert media.formats == ["8", "101"]
        await caller.session.end()
        await other.session.end()


async def test_calls_of_different_rates_meet_in_a_bridge(nothing_left, tmp_path):
    """Three calls, in Opus, G.722 and PCMU: whoever speaks in one is heard in the others."""
    async with running_agent(settings()) as agent:
        ours, theirs = [], []
        for codec in ("opus", "G722", "PCMU"):
            agent.account.rtp.audio_codec_list = [codec]
            here, there = await conversing(agent)
            assert here.codec == codec
            ours.append(here)
            theirs.append(there)
        bridge = AudioBridge(ours[0].mixer)
        for stream in ours:
            bridge.add(stream)
        tone = write_tone(tmp_path / "tone.wav", 800, level=LEVEL, rate=16000)
        player = WavePlayer(theirs[0].mixer, str(tone), loop_count=0)
        theirs[0].bridge.add(player)
        await player.start()
        paths = [tmp_path / f"{number}.wav" for number in (1, 2)]
        async with heard_by(theirs[1], paths[0]), heard_by(theirs[2], paths[1]):
            enough = 2 * 16000 * SECONDS
            await eventually(lambda: all(path.stat().st_size > enough for path in paths), "both hearing enough", 15)
        player.stop()
        for path in paths:
            heard = hear(path)
            assert heard.frequency == pytest.approx(800, abs=2)
            assert heard.level == pytest.approx(LEVEL, abs=1)
        for stream in ours:
            await stream.session.end()


async def test_digits_go_by_the_clock_of_opus(nothing_left):
    async with running_agent(settings()) as agent:
        caller, callee = await conversing(agent)
        local = caller.session._invitation.sdp.active_remote.media[0]
        assert "100 telephone-event/48000" in local.attributes.getall("rtpmap")
        caller.send_dtmf("7")
        told = await agent.record.until(callee, "AudioStreamGotDTMF")
        assert told.digit == "7"
        await caller.session.end()


async def test_the_engine_names_the_codecs_that_work_and_takes_no_others(nothing_left):
    async with running_agent(settings()):
        engine = Engine()
        assert engine.available_codecs[:4] == ["opus", "G722", "PCMU", "PCMA"]
        assert "iLBC" not in engine.available_codecs
        assert SIPSimpleSettings().rtp.audio_codec_list == ["opus", "G722", "PCMU", "PCMA"]
        with pytest.raises(SIPCoreError, match="no such codec"):
            engine.codecs = ["PCMU", "no such codec"]
        with pytest.raises(ValueError, match="twice"):
            engine.codecs = ["PCMU", "PCMU"]


async def test_a_codec_without_a_library_is_accepted_in_the_settings_and_not_offered(nothing_left):
    async with running_agent(settings()) as agent:
        agent.account.rtp.audio_codec_list = ["iLBC", "PCMU"]
        caller, _ = await conversing(agent)
        assert caller.codec == "PCMU"
        await caller.session.end()
