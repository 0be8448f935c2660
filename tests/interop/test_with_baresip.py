"""baresip calls us, and is called by us: each side hears the tone that the other one plays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sipsimple.session import Session
from tests.interop.baresip import Baresip
from tests.interop.user_agent import UserAgent, VoiceServer, user_agent
from tests.support.tones import Tone, hear, write_tone

OURS = 1000.0
THEIRS = 700.0
LEVEL = -12.0
SECONDS = 2.0

CODECS = pytest.mark.parametrize("codec", ["PCMU", "PCMA", "opus", "G722"])


def assert_heard(tone: Tone, frequency: float) -> None:
    assert tone.frequency == pytest.approx(frequency, abs=2), tone
    assert tone.level == pytest.approx(LEVEL, abs=0.7), tone
    assert tone.purity > 0.98, tone
    assert tone.seconds > SECONDS - 0.5, tone


async def converse(agent: UserAgent, session: Session, baresip: Baresip, directory: Path) -> Tone:
    """Play a tone until the other side has heard enough of it; returns what we heard."""
    tone = write_tone(directory / "ours.wav", OURS, level=LEVEL)
    recording = directory / "heard.wav"
    async with agent.conversing(session, tone, recording):
        await baresip.has_heard(SECONDS)
    return hear(recording)


@CODECS
async def test_baresip_is_called(nothing_left: None, tmp_path: Path, codec: str) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS, codecs=[codec.lower()]) as bob, user_agent() as alice:
        session = await alice.call(bob.uri, codecs=[codec])
        assert session.streams[0].codec == codec
        assert session.remote_user_agent.startswith("baresip")
        heard = await converse(alice, session, bob, tmp_path)
        statistics = session.streams[0].statistics
        await session.end()
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)
        assert bob.codecs_used() == (codec, codec)
        assert statistics["rx"]["packets"] > 50 * (SECONDS - 0.5)
        assert statistics["rx"]["packets_lost"] == 0


@CODECS
async def test_baresip_calls(nothing_left: None, tmp_path: Path, codec: str) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS, codecs=[codec.lower()]) as bob, user_agent() as alice:
        answering = asyncio.create_task(alice.answer())
        await bob.dial(alice.uri)
        session = await answering
        assert session.streams[0].codec == codec
        heard = await converse(alice, session, bob, tmp_path)
        await bob.hang_up()
        told = await alice.record.until(session, "SIPSessionDidEnd")
        assert (told.originator, told.end_reason) == ("remote", "user_request")
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_voice_server_echoes(tmp_path: Path, transport: str) -> None:
    async with VoiceServer(tmp_path) as server, Baresip(tmp_path / "bob", transport=transport) as bob:
        port = {"udp": server.udp_port, "tcp": server.tcp_port}[transport]
        await bob.dial(f"sip:echo@127.0.0.1:{port};transport={transport}")
        await bob.has_heard(SECONDS)
        await bob.hang_up()
        await bob.event("CALL_CLOSED")
        assert_heard(bob.heard(), THEIRS)
        assert await server.report() == (1, 0, 0)


async def test_hold_is_understood_by_baresip(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob, user_agent() as alice:
        session = await alice.call(bob.uri)
        await bob.has_heard(0.1)
        session.hold()
        told = await alice.record.until(session, "SIPSessionDidChangeHoldState")
        assert (told.originator, told.on_hold, told.partial) == ("local", True, False)
        assert session.on_hold
        session.unhold()
        told = await alice.record.until(session, "SIPSessionDidChangeHoldState", count=2)
        assert (told.originator, told.on_hold) == ("local", False)
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_hold_by_baresip_is_told(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob, user_agent() as alice:
        session = await alice.call(bob.uri)
        await bob.has_heard(0.1)
        await bob.command("hold")
        told = await alice.record.until(session, "SIPSessionDidChangeHoldState")
        assert (told.originator, told.on_hold) == ("remote", True)
        await bob.command("resume")
        told = await alice.record.until(session, "SIPSessionDidChangeHoldState", count=2)
        assert (told.originator, told.on_hold) == ("remote", False)
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_a_call_that_baresip_refuses_fails(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob", codecs=["pcma"]) as bob, user_agent() as alice:
        with pytest.raises(Exception, match="488") as caught:
            await alice.call(bob.uri, codecs=["PCMU"])
        assert (caught.value.code, caught.value.originator) == (488, "remote")


async def test_digits_come_from_baresip(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob, user_agent() as alice:
        session = await alice.call(bob.uri)
        stream = session.streams[0]
        await bob.has_heard(0.1)
        for number, digit in enumerate("15#", 1):
            await bob.command("sndcode", digit)
            told = await alice.record.until(stream, "AudioStreamGotDTMF", count=number)
            assert told.digit == digit
        await session.end()
        await bob.event("CALL_CLOSED")


@pytest.mark.parametrize("way", ["events", "info"])
async def test_digits_reach_baresip(nothing_left: None, tmp_path: Path, way: str) -> None:
    settings = {"rtp": {"dtmf_delivery": way}}
    async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob, user_agent(account=settings) as alice:
        session = await alice.call(bob.uri)
        await bob.has_heard(0.1)
        for number, digit in enumerate("15#", 1):
            session.streams[0].send_dtmf(digit)
            # It tells the beginning and the end of a digit.
            told = await bob.event("CALL_DTMF_START", count=number)
            assert told["param"] == digit
        await session.end()
        await bob.event("CALL_CLOSED")
