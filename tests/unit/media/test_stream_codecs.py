"""Streams of codecs with memory: two tables that talk over loopback, and strangers who send what they like."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipsimple.media.packet import RTPPacket
from sipsimple.media.rtcp import Report, ReportPacket, SourceDescription
from sipsimple.media.values import replace
from tests.unit.media.test_codecs import found, level
from tests.unit.media.test_streams import Party, Remote, talk, tone

FORMATS = {
    "opus": {"payload_type": 111, "parameters": "useinbandfec=1"},
    "G722": {"payload_type": 9},
    "PCMU": {"payload_type": 0},
    "GSM": {"payload_type": 3},
    "speex": {"payload_type": 97, "clock_rate": 16000},
}
TICK = 0.02


@pytest.fixture
def opened() -> Iterator[list[Party | Remote]]:
    parties: list[Party | Remote] = []
    yield parties
    for party in parties:
        if isinstance(party, Party):
            party.table.close(1e6)
        else:
            party.close()


def options(codec: str, rate: int = 16000) -> dict:
    if codec != "PCMU":
        found(codec, rate)
    return {"codec": codec, **FORMATS[codec]}


def pair(opened: list, rates: tuple[int, int] = (16000, 16000), **config) -> tuple[Party, Party]:
    a, b = Party(1, rates[0]), Party(2, rates[1])
    opened += [a, b]
    a.start(b.transport.rtp_port, **config)
    b.start(a.transport.rtp_port, **config)
    return a, b


def reconfigure(party: Party, **changes) -> None:
    party.config = replace(party.config, **changes)
    party.table.update(party.row, party.config, 0.0)


def assert_tone(sound: np.ndarray, rate: int, within: float = 1.0) -> None:
    """The tone of 440 Hz that `talk` says, without what is cut off at its beginning."""
    half = sound[-rate // 2 :]
    assert level(half) == pytest.approx(level(np.concatenate([tone(rate, n) for n in range(25)])), abs=within)
    assert 2 * int(np.abs(np.fft.rfft(half)).argmax()) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("codec", FORMATS)
def test_a_tone_is_heard(opened, codec):
    a, b = pair(opened, **options(codec))
    talk(a, b, 60)
    assert_tone(b.sound(), 16000, 3 if codec in ("GSM", "speex") else 1)
    assert b.stats["rx"]["packets_lost"] == b.stats["rx"]["packets_discarded"] == 0


@pytest.mark.parametrize("rates", [(8000, 48000), (48000, 8000), (44100, 16000), (16000, 32000)])
def test_mixers_of_different_rates_talk_in_opus(opened, rates):
    a, b = pair(opened, rates, **options("opus"))
    talk(a, b, 60)
    assert_tone(b.sound(), rates[1])


@pytest.mark.parametrize("codec", ["opus", "G722"])
def test_losses_are_told_and_made_up_for(opened, codec):
    a, b = pair(opened, **options(codec))
    talk(a, b, 100, lost=lambda number: number % 12 == 11)
    assert b.stats["rx"]["packets_lost"] in (7, 8)
    assert_tone(b.sound(), 16000)
    assert np.abs(np.diff(b.sound()[8000:])).max() < 2.2 * np.abs(np.diff(tone(16000, 0).astype(float))).max()


@pytest.mark.parametrize(("first", "second"), [("opus", "PCMU"), ("PCMU", "opus"), ("G722", "opus"), ("opus", "G722")])
def test_the_codec_changes_in_the_middle_of_the_call(opened, first, second):
    a, b = pair(opened, **options(first))
    talk(a, b, 40)
    for party in (a, b):
        reconfigure(party, **{"parameters": "", **options(second)})
    talk(a, b, 60)
    assert_tone(b.sound(), 16000)
    rx = b.stats["rx"]
    assert (rx["packets"], rx["packets_lost"], rx["packets_discarded"]) == (100, 0, 0)
    assert rx["jitter"]["last"] < 5000


def test_each_side_has_its_own_payload_type(opened):
    """RFC 3264 5.1: a number is that of whoever receives by it."""
    common = {**options("opus"), "telephone_event_type": 101}
    a, b = Party(1, 16000), Party(2, 16000)
    opened += [a, b]
    a.start(b.transport.rtp_port, **{**common, "payload_type": 96, "receive_type": 120})
    b.start(a.transport.rtp_port, **{**common, "payload_type": 120, "receive_type": 96})
    talk(a, b, 40)
    assert_tone(b.sound(), 16000)
    assert b.table.refused == 0


def test_reports_of_loss_reach_the_encoder(opened):
    party, remote = Party(1, 16000), Remote()
    opened += [party, remote]
    party.start(remote.port, remote_rtcp_port=remote.rtcp_port, **options("opus"))
    told = []
    encoder = party.table._streams[party.row].codec._encoders[party.row]
    encoder.expect_loss = told.append
    report = Report(party.table.local_ssrc(party.row), 64, 10, 100, 0, 0, 0)
    remote.report(party, ReportPacket(5, (report,)), SourceDescription(5, "x"))
    for _ in range(200):
        party.table.receive(1.0)
        if told:
            break
    assert told == [0.25]


def test_silence_costs_no_packets_and_is_no_loss(opened):
    a, b = pair(opened, **{**options("opus"), "parameters": "usedtx=1"})
    talk(a, b, 40)
    sent = 0
    for tick in range(40, 140):
        now = tick * TICK
        count = a.say(now, np.zeros(320, np.int16))
        sent += count
        b.receive(now, count)
        b.play(now)
    assert sent < 40
    b.heard.clear()
    for tick in range(140, 200):
        now = tick * TICK
        b.receive(now, a.say(now, tone(16000, tick)))
        b.play(now)
    assert_tone(b.sound(), 16000)
    assert b.stats["rx"]["packets_lost"] == 0


def test_comfort_noise_is_played_until_there_is_sound(opened):
    """RFC 3389 4: a packet of payload type 13 tells the level of the noise, and the pause after it is no loss."""
    party, remote = Party(1, 8000), Remote()
    opened += [party, remote]
    party.start(remote.port)
    for number in range(20):
        remote.send(party, number)
        party.receive(number * TICK, 1)
        party.play(number * TICK)
    remote.send(party, 20, payload_type=13, payload=b"\x28")
    party.receive(20 * TICK, 1)
    for number in range(20, 80):
        party.play(number * TICK)
    noise = np.concatenate(party.heard[40:80])
    assert level(noise) - 20 * np.log10(32767) == pytest.approx(-40, abs=1)
    party.heard.clear()
    for number in range(80, 100):
        remote.send(party, number - 59, sequence=100 + number - 59, timestamp=160 * number)
        party.receive(number * TICK, 1)
        party.play(number * TICK)
    assert len(set(party.heard[-1].tolist())) == 1
    assert party.stats["rx"]["packets_lost"] == party.stats["rx"]["packets_discarded"] == 0


@pytest.mark.parametrize("codec", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(st.binary(max_size=400), max_size=12), steps=st.lists(st.integers(-5, 50), max_size=12))
def test_whatever_a_stranger_sends_sound_goes_on(opened, codec, payloads, steps):
    party, remote = Party(1, 16000), Remote()
    opened += [party, remote]
    party.start(remote.port, **options(codec))
    timestamp = 0
    for number, payload in enumerate(payloads):
        timestamp += 160 * (steps[number] if number < len(steps) else 1)
        packet = RTPPacket(FORMATS[codec]["payload_type"], number, timestamp & 0xFFFFFFFF, 5, payload)
        remote.raw(party, bytes(packet))
        party.receive(number * TICK, 1)
        party.play(number * TICK)
        assert party.heard[-1].shape == (320,)
    rx = party.stats["rx"]
    assert rx["packets"] == len(payloads)
    assert rx["packets_discarded"] <= len(payloads)


def test_a_row_that_is_used_again_has_fresh_coders(opened):
    a, b = pair(opened, **options("opus"))
    talk(a, b, 30)
    codec = b.table._streams[b.row].codec
    old = codec.decoder(b.row)
    b.table.remove(b.row, 1.0)
    with pytest.raises(KeyError):
        codec.decoder(b.row)
    b.start(a.transport.rtp_port, 1.0, **options("opus"))
    assert b.table._streams[b.row].codec.decoder(b.row) is not old
