"""Hold and transfer with baresip, by either side; what is heard before, meanwhile and afterwards.

baresip's own recording ends with the first hold. From then on it sends back what it hears, and we listen.

This baresip knows no Replaces (RFC 3891), so attended transfer is not tried with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.audio import AudioBridge, WavePlayer, WaveRecorder
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session, TransferDidFail
from tests.interop.baresip import Baresip
from tests.interop.user_agent import UserAgent, VoiceServer, user_agent
from tests.support.programs import until
from tests.support.tones import Tone, hear, write_tone

OURS = 1000.0
THEIRS = 700.0
ELSEWHERE = 1300.0
LEVEL = -12.0
SECONDS = 1.5


async def exchange(session: Session, directory: Path) -> Tone:
    """Play a tone for a while to the other side; what came from there meanwhile."""
    tone = write_tone(directory / "ours.wav", OURS, SECONDS, LEVEL)
    recording = directory / "heard.wav"
    stream = session.streams[0]
    player, recorder, ear = (
        WavePlayer(stream.mixer, str(tone)),
        WaveRecorder(stream.mixer, str(recording)),
        AudioBridge(stream.mixer),
    )
    await recorder.start_soon()
    ear.add(stream)
    ear.add(recorder)
    stream.bridge.add(player)
    async with asyncio.timeout(SECONDS + 10), NotificationCenter().subscribe("WavePlayerDidEnd", player) as ends:
        await player.start()
        await ends.next()
    stream.bridge.remove(player)
    await recorder.stop()
    return hear(recording)


def assert_heard(tone: Tone, frequency: float) -> None:
    assert tone.frequency == pytest.approx(frequency, abs=2), tone
    assert tone.level == pytest.approx(LEVEL, abs=0.7), tone
    assert tone.purity > 0.98, tone
    assert tone.seconds > SECONDS - 0.5, tone


def assert_silent(tone: Tone) -> None:
    """Nothing was heard but what was on its way before."""
    assert tone.seconds < 0.3, tone


def packets(session: Session) -> int:
    """How many packets came from the other side."""
    return int(session.streams[0].statistics["rx"]["packets"])


async def packets_at(baresip: Baresip) -> int:
    """How many packets baresip got in its one call."""
    (count,) = re.findall(r"rcvd=(\d+)", await baresip.command("audio_debug"))
    return int(count)


async def hold_told(agent: UserAgent, session: Session, count: int) -> tuple[Any, ...]:
    """What the count-th change of the hold state was."""
    told = await agent.record.until(session, "SIPSessionDidChangeHoldState", count=count)
    return told.originator, told.on_hold, told.partial


def directions(agent: UserAgent, received: bool) -> list[str]:
    """The direction of the audio in each session description that went one way."""
    return [
        found[1]
        for message in agent.trace.messages
        if message.received is received
        if (found := re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)\r$", message.text, re.MULTILINE))
    ]


@asynccontextmanager
async def talking(directory: Path) -> AsyncIterator[tuple[UserAgent, Session, Baresip]]:
    """A call to baresip, in which both were heard."""
    async with Baresip(directory / "bob", frequency=THEIRS) as bob, user_agent() as alice:
        session = await alice.call(bob.uri)
        assert_heard(await exchange(session, directory), THEIRS)
        yield alice, session, bob


async def assert_talking(session: Session, bob: Baresip, directory: Path) -> None:
    """Both sides hear each other, as before the hold."""
    assert_heard(await exchange(session, directory), THEIRS)
    await bob.command("ausrc", "aubridge,loop")
    assert_heard(await exchange(session, directory), OURS)


# Hold


async def test_what_we_hold_is_silent_until_we_resume(nothing_left: None, tmp_path: Path) -> None:
    async with talking(tmp_path) as (alice, session, bob):
        session.hold()
        assert await hold_told(alice, session, 1) == ("local", True, False)
        before = packets(session)
        assert_silent(await exchange(session, tmp_path))
        assert packets(session) - before <= 1
        session.unhold()
        assert await hold_told(alice, session, 2) == ("local", False, False)
        assert not session.on_hold
        await assert_talking(session, bob, tmp_path)
        assert directions(alice, received=False) == ["sendrecv", "sendonly", "sendrecv"]
        assert directions(alice, received=True) == ["sendrecv", "recvonly", "sendrecv"]
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_what_baresip_holds_is_silent_until_it_resumes(nothing_left: None, tmp_path: Path) -> None:
    async with talking(tmp_path) as (alice, session, bob):
        await bob.command("hold")
        assert await hold_told(alice, session, 1) == ("remote", True, False)
        assert session.on_hold
        before, before_there = packets(session), await packets_at(bob)
        assert_silent(await exchange(session, tmp_path))
        assert packets(session) - before <= 1
        assert await packets_at(bob) - before_there <= 1
        await bob.command("resume")
        assert await hold_told(alice, session, 2) == ("remote", False, False)
        assert not session.on_hold
        await assert_talking(session, bob, tmp_path)
        assert directions(alice, received=True) == ["sendrecv", "sendonly", "sendrecv"]
        assert directions(alice, received=False) == ["sendrecv", "recvonly", "sendrecv"]
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_each_side_resumes_what_it_held(nothing_left: None, tmp_path: Path) -> None:
    async with talking(tmp_path) as (alice, session, bob):
        session.hold()
        assert await hold_told(alice, session, 1) == ("local", True, False)
        await bob.command("hold")
        assert await hold_told(alice, session, 2) == ("remote", True, False)
        session.unhold()
        assert await hold_told(alice, session, 3) == ("local", False, False)
        assert session.on_hold
        assert_silent(await exchange(session, tmp_path))
        await bob.command("resume")
        assert await hold_told(alice, session, 4) == ("remote", False, False)
        assert not session.on_hold
        await assert_talking(session, bob, tmp_path)
        await session.end()
        await bob.event("CALL_CLOSED")


# Transfer


def transfer_told(agent: UserAgent, session: Session) -> list[str]:
    prefix = "SIPSessionTransfer"
    return [name.removeprefix(prefix) for name in agent.record.names(session) if name.startswith(prefix)]


def recorded(directory: Path) -> Tone:
    """What the voice server recorded of its one caller."""
    (recording,) = directory.glob("*.wav")
    return hear(recording)


async def test_baresip_is_transferred(nothing_left: None, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    async with (
        VoiceServer(tmp_path, "--mode", "record", "--dir", recordings, "--verbose") as carol,
        talking(tmp_path) as (alice, session, bob),
    ):
        async with asyncio.timeout(10):
            await session.transfer(f"sip:carol@127.0.0.1:{carol.udp_port}")
        told = await alice.record.until(session, "SIPSessionDidEnd")
        assert told.originator == "local"
        assert transfer_told(alice, session)[:2] == ["NewOutgoing", "DidStart"]
        assert transfer_told(alice, session)[-1] == "DidEnd"
        await bob.event("CALL_ESTABLISHED", count=2)
        await bob.event("CALL_CLOSED")
        # A second of sound, of 16 bits.
        await until(lambda: any(file.stat().st_size > 16000 for file in recordings.glob("*.wav")), "a recording")
        await bob.hang_up()
        await bob.event("CALL_CLOSED", count=2)
        await carol.program.line("ended")
        assert await carol.report() == (1, 0, 0)
        assert recorded(recordings).frequency == pytest.approx(THEIRS, abs=2)


async def test_baresip_tells_that_the_target_is_busy(nothing_left: None, tmp_path: Path) -> None:
    async with (
        VoiceServer(tmp_path, "--mode", "reject", "--reject-code", "486") as carol,
        talking(tmp_path) as (alice, session, bob),
    ):
        async with asyncio.timeout(10):
            with pytest.raises(TransferDidFail) as failure:
                await session.transfer(f"sip:carol@127.0.0.1:{carol.udp_port}")
        assert failure.value.code == 486
        assert transfer_told(alice, session)[-1] == "DidFail"
        assert session.state == "connected"
        assert await carol.report() == (0, 1, 0)
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_baresip_transfers_us(nothing_left: None, tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "elsewhere.wav", ELSEWHERE)
    async with (
        VoiceServer(tmp_path, "--mode", "play", "--file", tone) as carol,
        talking(tmp_path) as (alice, session, bob),
    ):
        await bob.command("transfer", f"sip:carol@127.0.0.1:{carol.udp_port}")
        told = await alice.record.until(session, "SIPSessionTransferNewIncoming")
        assert str(told.transfer_destination) == f"sip:carol@127.0.0.1:{carol.udp_port}"
        session.accept_transfer()
        await alice.record.until(session, "SIPSessionTransferDidEnd")
        # Who asked for it hangs up when he hears of it.
        ended = await alice.record.until(session, "SIPSessionDidEnd")
        assert ended.originator == "remote"
        await bob.event("CALL_CLOSED")
        (call,) = [n.sender for n in alice.record.all if n.name == "SIPSessionNewOutgoing" and n.sender is not session]
        assert call.state == "connected"
        assert_heard(await exchange(call, tmp_path), ELSEWHERE)
        await call.end()
        assert await carol.report() == (1, 0, 0)


async def test_baresip_is_refused_a_transfer(nothing_left: None, tmp_path: Path) -> None:
    async with talking(tmp_path) as (alice, session, bob):
        await bob.command("transfer", "sip:carol@127.0.0.1:9")
        await alice.record.until(session, "SIPSessionTransferNewIncoming")
        session.reject_transfer(403)
        told = await alice.record.until(session, "SIPSessionTransferDidFail")
        assert told.code == 403
        failed = await bob.event("TRANSFER_FAILED")
        assert "403" in failed["param"]
        # It gives the call up then; a session of ours would go on.
        ended = await alice.record.until(session, "SIPSessionDidEnd")
        assert ended.originator == "remote"
