"""PCMPort on the real media engine: arrays in and out, pacing, flushing, draining, ends; and in a call."""

import asyncio

import numpy as np
import pytest

from sipsimple.audio import AudioBridge, IAudioPort, PCMPort, PortClosed
from sipsimple.core import AudioMixer
from sipsimple.core.media import MediaClient
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import NotificationCenter
from sipsimple.streams import AudioStream
from tests.support.agent import running_agent
from tests.support.tones import measure

RATE = 16000


@pytest.fixture
async def mixer(nothing_left):
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    yield AudioMixer(None, None, RATE)
    unbind_loop(loop)
    await asyncio.to_thread(MediaClient().stop)


@pytest.fixture
def ports(mixer):
    """Two ports in one bridge; the second one speaks and listens at another rate."""
    first, second = PCMPort(mixer, 16000), PCMPort(mixer, 8000)
    bridge = AudioBridge(mixer)
    for port in (first, second):
        port.start()
        bridge.add(port)
    yield first, second
    first.stop()
    second.stop()


def tone(rate, seconds, frequency=440.0):
    return (12000 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


async def listen(port, seconds):
    frames = [await port.read() for _ in range(int(seconds * 50))]
    return np.concatenate(frames)


async def test_a_tone_is_heard_at_the_rate_of_the_listener(ports):
    first, second = ports
    await first.write(tone(16000, 1.0))
    found = measure((await listen(second, 1.6)) / 32768, 8000)
    assert found.frequency == pytest.approx(440, abs=2)
    assert found.level == pytest.approx(20 * np.log10(12000 / 32768), abs=0.3)
    assert found.seconds == pytest.approx(1.0, abs=0.03)


async def test_frames_have_twenty_milliseconds_and_come_without_end(ports):
    count = 0
    async for frame in ports[1]:
        assert frame.dtype == np.int16
        assert frame.shape == (160,)
        count += 1
        if count == 5:
            break


async def test_writing_paces_itself_and_draining_waits_for_the_last_sample(ports):
    first, _ = ports
    first.stop()
    slow = PCMPort(first.mixer, 16000, capture=False, buffer=0.1)
    assert slow.consumer_slot is None
    slow.start()
    written = slow.write(tone(16000, 0.5))
    assert not written.done()
    await written
    assert 0.3 * 16000 <= slow.played < 0.5 * 16000
    await slow.drain()
    assert slow.played == 0.5 * 16000
    assert slow.pending == 0
    slow.stop()


async def test_a_flush_is_silence_within_a_tick_and_settles_who_waits(ports):
    first, second = ports
    written = first.write(np.full(16000 * 20, 8000, np.int16))
    drained = first.drain()
    while np.abs(await second.read()).max() < 7000:
        pass
    first.flush()
    await asyncio.wait_for(written, 1)
    await asyncio.wait_for(drained, 1)
    assert first.pending == 0
    assert first.played < 16000 * 2
    # What was mixed before the engine obeyed may still be on its way; the listener gets no more than that.
    rest = [frame for frame in [await second.read() for _ in range(10)] if np.abs(frame).max() > 100]
    assert len(rest) <= 3
    await first.write(tone(16000, 0.1))
    await asyncio.wait_for(first.drain(), 2)


async def test_a_slow_reader_loses_the_oldest_frames_and_is_told(ports, monkeypatch):
    monkeypatch.setattr("sipsimple.audio.pcm.MAX_BACKLOG", 3)
    first, second = ports
    await first.write(tone(16000, 0.3))
    await first.drain()
    assert second.overruns >= 5


async def test_the_end_of_a_port(ports):
    first, _ = ports
    changes = []

    class Watch:
        def handle_notification(self, notification):
            changes.append(notification.data)

    watch = Watch()
    NotificationCenter().add_observer(watch, name="AudioPortDidChangeSlots", sender=first)
    written = first.write(np.zeros(16000 * 10, np.int16))
    drained = first.drain()
    first.stop()
    first.stop()
    with pytest.raises(PortClosed):
        await written
    with pytest.raises(PortClosed):
        await drained
    with pytest.raises(PortClosed, match="start it"):
        first.write(b"")
    assert (first.producer_slot, first.consumer_slot, first.is_active) == (None, None, False)
    (change,) = changes
    assert (change.new_producer_slot, change.new_consumer_slot) == (None, None)
    assert [frame async for frame in first if frame.size == 0] == []
    first.start()
    await first.write(tone(16000, 0.1))
    await first.drain()
    assert first.played == 1600
    NotificationCenter().purge_observer(watch)


async def test_floats_and_bytes_and_what_is_neither(ports):
    first, second = ports
    await first.write(np.full(16000 // 2, 0.25, np.float32))
    await first.write(np.full(16000 // 2, 8192, np.int16).tobytes())
    heard = await listen(second, 1.2)
    loud = heard[heard > 8000]
    assert 7000 < len(loud) < 8500
    assert abs(int(np.median(loud)) - 8192) < 20
    with pytest.raises(TypeError, match="int16"):
        first.write(np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="mono"):
        first.write(np.zeros((4, 2), np.int16))
    with pytest.raises(ValueError, match="whole number"):
        first.write(b"\0")


def test_arguments_are_checked(mixer):
    with pytest.raises(ValueError, match="divisible by 50"):
        PCMPort(mixer, 11025)
    with pytest.raises(ValueError, match="at most 30"):
        PCMPort(mixer, buffer=0)
    assert IAudioPort.providedBy(PCMPort(mixer))
    with pytest.raises(PortClosed):
        PCMPort(mixer).write(b"")


async def test_a_thread_may_write_and_wait(ports):
    first, _ = ports

    def speak():
        first.write(tone(16000, 0.2)).wait(5)
        first.drain().wait(5)
        return first.played

    assert await asyncio.to_thread(speak) == 3200


async def test_a_program_speaks_and_hears_over_a_call():
    async with running_agent() as agent:
        caller, callee = await agent.talking(AudioStream(agent.account))
        mixer = agent.application.voice_audio_mixer
        speaker, listener = PCMPort(mixer, 8000, capture=False), PCMPort(mixer, 8000)
        speaker.start()
        listener.start()
        caller.streams[0].bridge.add(speaker)
        callee.streams[0].bridge.add(listener)
        await speaker.write(tone(8000, 1.5))
        found = measure((await listen(listener, 2.2)) / 32768, 8000)
        assert found.frequency == pytest.approx(440, abs=2)
        assert found.level == pytest.approx(20 * np.log10(12000 / 32768), abs=1)
        speaker.stop()
        listener.stop()
        await caller.end()
