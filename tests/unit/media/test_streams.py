"""Two tables of streams that talk over loopback, tick by tick, on a clock of their own."""

from __future__ import annotations

import itertools
import random
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sipsimple.media.errors import CodecUnavailable, StreamError, UnknownObject
from sipsimple.media.net import can_disconnect
from sipsimple.media.packet import RTPPacket
from sipsimple.media.rtcp import Bye, Report, ReportPacket, SourceDescription, compound, parse_compound
from sipsimple.media.streams import (
    DigitReceived,
    FirstPacket,
    NoMedia,
    RemoteAddressChanged,
    RemoteBye,
    StreamConfig,
    StreamTable,
)
from sipsimple.media.values import replace

HOST = "127.0.0.1"
PORTS = (22000, 60000)
TICK = 0.02
LEVEL = 8000


class Party:
    """One table with one stream."""

    def __init__(self, seed: int, rate: int = 8000, host: str = HOST, portable: bool = False):
        self.table = StreamTable(16, random=random.Random(seed), wall_clock_offset=1e9, portable=portable)
        self.rate = rate
        self.transport = self.table.open_transport(host, PORTS)
        self.row = -1
        self.heard: list[np.ndarray] = []
        self.expected = 0

    def start(self, port: int, now: float = 0.0, **options):
        address = options.pop("remote_address", self.transport.address)
        options = {"codec": "PCMU", "payload_type": 0, "mixer_rate": self.rate, **options}
        self.config = StreamConfig(address, port, **options)
        self.row = self.table.add(self.transport.id, self.config, now)

    def receive(self, now: float, packets: int) -> None:
        """Take in what arrives until there are `packets` more than before."""
        self.expected += packets
        deadline = time.monotonic() + 5
        self.table.receive(now)
        while self.stats["rx"]["packets"] < self.expected:
            assert time.monotonic() < deadline, "packets are missing"
            self.table.receive(now)

    def play(self, now: float) -> None:
        _, frames = self.table.playout(now, self.rate)
        self.heard.extend(frames.copy())

    def say(self, now: float, frame: np.ndarray) -> int:
        before = self.stats["tx"]["packets"]
        self.table.send(now, self.table.sending_rows(self.rate), frame.reshape(1, -1))
        return self.stats["tx"]["packets"] - before

    @property
    def stats(self):
        return self.table.statistics(self.row)

    def sound(self) -> np.ndarray:
        return np.concatenate(self.heard).astype(float)


class Remote:
    """A peer made of bare sockets."""

    def __init__(self, host: str = HOST):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.rtp, self.rtcp = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.rtp, self.rtcp):
            sock.bind((host, 0))
            sock.settimeout(5)
        self.port = self.rtp.getsockname()[1]
        self.rtcp_port = self.rtcp.getsockname()[1]

    def send(self, party: Party, number: int, **fields) -> None:
        packet = RTPPacket(
            **{
                "payload_type": 0,
                "sequence": 100 + number,
                "timestamp": 160 * number,
                "ssrc": 5,
                "payload": b"\x90" * 160,
                **fields,
            }
        )
        self.raw(party, bytes(packet))

    def raw(self, party: Party, data: bytes) -> None:
        self.rtp.sendto(data, (party.transport.address, party.transport.rtp_port))

    def report(self, party: Party, *packets) -> None:
        self.rtcp.sendto(compound(packets), (party.transport.address, party.transport.rtcp_port))

    def close(self):
        self.rtp.close()
        self.rtcp.close()


@pytest.fixture
def opened() -> Iterator[list[Party | Remote]]:
    parties: list[Party | Remote] = []
    yield parties
    for party in parties:
        if isinstance(party, Party):
            party.table.close(1e6)
        else:
            party.close()


@pytest.fixture
def party(opened) -> Party:
    opened.append(Party(1))
    return opened[-1]


@pytest.fixture
def remote(opened) -> Remote:
    opened.append(Remote())
    return opened[-1]


def tone(rate: int, tick: int, frequency: float = 440) -> np.ndarray:
    time_axis = (np.arange(rate // 50) + tick * (rate // 50)) / rate
    return np.rint(LEVEL * np.sin(2 * np.pi * frequency * time_axis)).astype(np.int16)


def connect(opened, rates=(8000, 8000), host=HOST, portable=False, **options) -> tuple[Party, Party]:
    a, b = Party(1, rates[0], host, portable), Party(2, rates[1], host, portable)
    opened += [a, b]
    a.start(b.transport.rtp_port, **options)
    b.start(a.transport.rtp_port, **options)
    return a, b


def talk(a: Party, b: Party, ticks: int, lost=lambda number: False) -> None:
    """Let `a` say a tone to `b`; `lost` tells which ticks' packets vanish."""
    for tick in range(ticks):
        now = tick * TICK
        sent = a.say(now, tone(a.rate, tick))
        if lost(tick):
            # What the kernel holds is taken away by `b`'s own socket before `b` reads.
            stream = b.table._streams[b.row]
            for _ in range(sent):
                stream.transport.rtp.recv(2000)
            sent = 0
        b.receive(now, sent)
        b.play(now)


def measure(samples: np.ndarray, rate: int) -> tuple[float, float, float]:
    """Return frequency, level and signal-to-noise ratio (dB) of a tone."""
    window = np.blackman(len(samples))
    lines = np.abs(np.fft.rfft(samples * window))
    peak = int(lines.argmax())
    near = slice(max(peak - 4, 0), peak + 5)
    signal = (lines[near] ** 2).sum()
    noise = (lines**2).sum() - signal
    return peak * rate / len(samples), float(np.sqrt(2) * samples.std()), float(10 * np.log10(signal / noise))


@pytest.mark.parametrize("ptime", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("codec", [("PCMU", 0), ("PCMA", 8)])
@pytest.mark.parametrize("rates", [(8000, 8000), (16000, 16000), (48000, 8000)])
def test_tone_arrives_with_its_frequency_and_level(opened, ptime, codec, rates):
    a, b = connect(opened, rates, codec=codec[0], payload_type=codec[1], ptime_ms=ptime)
    talk(a, b, 75)
    frequency, level, ratio = measure(b.sound()[b.rate // 2 :], b.rate)
    assert frequency == pytest.approx(440, abs=2)
    assert level == pytest.approx(LEVEL, rel=0.03)
    assert ratio > 32
    assert b.stats["rx"]["packets"] == a.stats["tx"]["packets"] == 75 * 20 // ptime
    assert b.stats["rx"]["bytes"] == a.stats["tx"]["bytes"]
    assert b.stats["rx"]["packets_discarded"] == b.stats["rx"]["packets_lost"] == 0


@pytest.mark.parametrize("host", [HOST, "::1"])
@pytest.mark.parametrize("portable", [False, True])
def test_both_families_and_both_ways_of_waiting(opened, host, portable):
    try:
        a, b = connect(opened, host=host, portable=portable)
    except StreamError:
        pytest.skip(f"{host} cannot be used here")
    talk(a, b, 30)
    assert measure(b.sound()[1600:], 8000)[0] == pytest.approx(440, abs=3)


def test_echo_on_a_clean_network_comes_back_within_40_ms(party, remote):
    party.start(remote.port)
    answers = []
    for tick in range(50):
        now = tick * TICK
        # A click in packet 30 and silence else.
        remote.send(party, tick, payload=(b"\x80" if tick == 30 else b"\xff") * 160)
        party.receive(now, 1)
        rows, frames = party.table.playout(now, 8000)
        party.table.send(now, rows, frames)
        answers.append(RTPPacket.parse(remote.rtp.recv(2000)).payload)
    loud = [tick for tick, payload in enumerate(answers) if payload == b"\x80" * 160]
    assert loud == [31]


def test_what_is_sent_is_numbered_and_marked_as_the_rfc_wants(party, remote):
    party.start(remote.port)
    packets = []
    for tick in range(5):
        party.say(tick * TICK, tone(8000, tick))
        packets.append(RTPPacket.parse(remote.rtp.recv(2000)))
    assert [packet.marker for packet in packets] == [True, False, False, False, False]
    assert {packet.ssrc for packet in packets} == {party.table.local_ssrc(party.row)}
    steps = [(b.sequence - a.sequence, b.timestamp - a.timestamp) for a, b in itertools.pairwise(packets)]
    assert steps == [(1, 160)] * 4


def test_pause_moves_the_timestamp_by_the_time_that_passed(party, remote):
    party.start(remote.port)
    party.say(0.0, tone(8000, 0))
    party.table.set_direction(party.row, "recvonly", TICK)
    assert party.table.sending_rows(8000).tolist() == []
    assert len(party.table.receiving_rows(8000)) == 1
    party.table.set_direction(party.row, "sendrecv", 2.0)
    party.say(2.0, tone(8000, 1))
    first, second = (RTPPacket.parse(remote.rtp.recv(2000)) for _ in range(2))
    assert (second.timestamp - first.timestamp) % (1 << 32) == 16000
    assert second.sequence == first.sequence + 1
    assert second.marker


def test_rows_of_a_direction_that_does_not_receive_are_counted_and_not_played(party, remote):
    party.start(remote.port, direction="sendonly")
    remote.send(party, 0)
    party.receive(0.0, 1)
    rows, frames = party.table.playout(0.0, 8000)
    assert rows.size == 0
    assert frames.shape == (0, 160)


def test_injected_loss_is_in_the_receiver_report_and_in_both_statistics(opened):
    a, b = connect(opened)
    talk(a, b, 50, lost=lambda tick: tick % 10 == 4)
    assert b.stats["rx"]["packets_lost"] == 5
    assert b.stats["rx"]["random_loss"] is True
    assert b.stats["rx"]["burst_loss"] is False
    assert b.stats["rx"]["loss_period"]["avg"] == 20_000
    b.table.rtcp(10.0)
    deadline = time.monotonic() + 5
    while a.stats["tx"]["packets_lost"] != 5:
        assert time.monotonic() < deadline
        a.table.receive(10.0)
    assert a.stats["tx"]["jitter"]["count"] == 1


def test_round_trip_time_is_measured_by_reports(party, remote):
    party.start(remote.port, remote_rtcp_port=remote.rtcp_port)
    party.say(0.0, tone(8000, 0))
    party.table.rtcp(5.0)
    sent = parse_compound(remote.rtcp.recv(2000))
    assert isinstance(sent[0], ReportPacket)
    assert isinstance(sent[1], SourceDescription)
    assert sent[0].sender.packets == 1
    assert sent[0].sender.octets == 160
    last = sent[0].sender.ntp >> 16 & 0xFFFFFFFF
    block = Report(party.table.local_ssrc(party.row), 0, 0, 1, 80, last, 65536 // 2)
    remote.report(party, ReportPacket(9, (block,)))
    deadline = time.monotonic() + 5
    while not party.stats["rtt"]["count"]:
        assert time.monotonic() < deadline
        party.table.receive(5.75)
    assert party.stats["rtt"]["last"] == pytest.approx(250_000, abs=50)
    assert party.stats["tx"]["jitter"]["last"] == 10_000


def test_reports_on_the_rtp_port_are_understood(party, remote):
    party.start(remote.port)
    remote.send(party, 0)
    party.receive(0.0, 1)
    remote.raw(party, compound([ReportPacket(5), Bye((5,))]))
    deadline = time.monotonic() + 5
    party.table.events(0.0)
    while not (events := party.table.events(0.0)):
        assert time.monotonic() < deadline
        party.table.receive(0.0)
    assert events == [RemoteBye(party.row, party.transport.id)]


def test_removed_stream_says_bye_and_its_transport_can_be_used_again(party, remote):
    party.start(remote.port, remote_rtcp_port=remote.rtcp_port)
    party.say(0.0, tone(8000, 0))
    ssrc = party.table.local_ssrc(party.row)
    party.table.remove(party.row, 1.0)
    assert parse_compound(remote.rtcp.recv(2000))[-1] == Bye((ssrc,))
    with pytest.raises(UnknownObject):
        party.table.remove(party.row, 1.0)
    party.start(remote.port, now=2.0)
    assert party.table.local_ssrc(party.row) != ssrc
    assert party.stats["tx"]["packets"] == 0


def test_source_is_latched_and_strangers_are_refused_until_it_falls_silent(opened, party, remote):
    stranger = Remote()
    opened.append(stranger)
    party.start(9)
    remote.send(party, 0)
    party.receive(0.0, 1)
    stranger.send(party, 1)
    deadline = time.monotonic() + 5
    while party.table.refused == 0:
        assert time.monotonic() < deadline
        party.table.receive(0.1)
    place = (party.row, party.transport.id, HOST, remote.port)
    assert party.table.events(0.1) == [RemoteAddressChanged(*place), FirstPacket(*place)]
    party.say(0.1, tone(8000, 0))
    assert RTPPacket.parse(remote.rtp.recv(2000)).payload_type == 0
    stranger.send(party, 40)
    party.receive(0.8, 1)
    changed = RemoteAddressChanged(party.row, party.transport.id, HOST, stranger.port)
    assert party.table.events(0.8) == [changed]


def test_signalled_source_takes_over_from_a_stranger_at_once(opened, party, remote):
    stranger = Remote()
    opened.append(stranger)
    party.start(remote.port)
    stranger.send(party, 0)
    party.receive(0.0, 1)
    remote.send(party, 1)
    party.receive(0.02, 1)
    party.say(0.02, tone(8000, 0))
    assert remote.rtp.recv(2000)


def test_without_latching_only_the_signalled_source_is_heard(opened, party, remote):
    stranger = Remote()
    opened.append(stranger)
    party.start(remote.port, latch_source=False)
    stranger.send(party, 0)
    remote.send(party, 1)
    party.receive(0.0, 1)
    assert party.table.events(0.0) == [FirstPacket(party.row, party.transport.id, HOST, remote.port)]


def steady(party: Party, remote: Remote, start: float = 0.0) -> float:
    """Feed the stream until its socket is connected; returns the time."""
    now = start
    for number in range(130):
        now = start + number * TICK
        remote.send(party, round(now / TICK))
        party.receive(now, 1)
        party.play(now)
    return now


def is_connected(party: Party) -> bool:
    try:
        party.table._transports[party.transport.id].rtp.getpeername()
    except OSError:
        return False
    return True


@pytest.fixture
def locked(party, remote):
    if not can_disconnect():
        pytest.skip("sockets cannot be disconnected here")
    party.start(remote.port)
    now = steady(party, remote)
    assert is_connected(party)
    party.table.events(now)
    return now


def test_steady_stream_is_heard_and_answered_through_its_connected_socket(party, remote, locked):
    remote.send(party, 130)
    party.receive(locked, 1)
    party.say(locked, tone(8000, 0))
    assert RTPPacket.parse(remote.rtp.recv(2000)).payload_type == 0
    assert party.stats["rx"]["packets_discarded"] == party.stats["rx"]["packets_lost"] == 0


def test_connected_socket_does_not_hear_strangers(opened, party, remote, locked):
    stranger = Remote()
    opened.append(stranger)
    stranger.send(party, 131)
    remote.send(party, 131)
    party.receive(locked, 1)
    assert party.table.refused == 0
    assert party.table.events(locked) == []


def test_remote_that_moved_is_followed_once_the_old_address_is_silent(opened, party, remote, locked):
    moved = Remote()
    opened.append(moved)
    party.table.receive(locked + 0.6)
    assert not is_connected(party)
    moved.send(party, 160)
    party.receive(locked + 0.7, 1)
    events = party.table.events(locked + 0.7)
    assert events == [RemoteAddressChanged(party.row, party.transport.id, HOST, moved.port)]
    party.say(locked + 0.7, tone(8000, 0))
    assert moved.rtp.recv(2000)


def test_remote_that_was_silent_for_a_while_is_connected_again(party, remote, locked):
    party.table.receive(locked + 1.0)
    assert not is_connected(party)
    steady(party, remote, locked + 2.0)
    assert is_connected(party)


def test_new_address_frees_a_connected_socket(opened, party, remote, locked):
    other = Remote()
    opened.append(other)
    party.table.update(party.row, StreamConfig(HOST, other.port, "PCMU", 0, 8000), locked)
    assert not is_connected(party)
    other.send(party, 0)
    party.receive(locked, 1)
    party.say(locked, tone(8000, 0))
    assert other.rtp.recv(2000)


def test_transport_of_a_removed_stream_hears_anybody_again(opened, party, remote, locked):
    party.table.remove(party.row, locked)
    assert not is_connected(party)
    assert party.table._transports[party.transport.id].rtp.getsockname()[1] == party.transport.rtp_port
    party.expected = 0
    other = Remote()
    opened.append(other)
    party.start(other.port, locked)
    other.send(party, 0)
    party.receive(locked, 1)


def test_remote_that_closed_its_socket_does_not_disturb(party, remote, locked):
    remote.rtp.close()
    for tick in range(5):
        party.say(locked + tick * TICK, tone(8000, tick))
        party.table.receive(locked + tick * TICK)
    assert party.stats["tx"]["packets_discarded"] <= 5


def test_new_remote_address_is_followed_and_counting_goes_on(opened, party, remote):
    other = Remote()
    opened.append(other)
    party.start(remote.port)
    party.say(0.0, tone(8000, 0))
    config = StreamConfig(HOST, other.port, "PCMA", 8, 8000)
    party.table.update(party.row, config, TICK)
    party.say(TICK, tone(8000, 1))
    first, second = RTPPacket.parse(remote.rtp.recv(2000)), RTPPacket.parse(other.rtp.recv(2000))
    assert (second.ssrc, second.sequence) == (first.ssrc, first.sequence + 1)
    assert second.payload_type == 8
    other.send(party, 0, payload_type=8)
    party.receive(TICK, 1)


JUNK = [b"", b"\x80", bytes(12), b"\x80\x00" + bytes(9), b"\xa0\x00" + bytes(10) + b"\xff", b"\x8f\x00" + bytes(30)]


def test_junk_is_refused_and_harms_nobody(party, remote):
    chance = random.Random(11)
    party.start(remote.port)
    junk = JUNK + [chance.randbytes(chance.randrange(1600)) for _ in range(200)]
    junk += [bytes([0x80, chance.randrange(256)]) + chance.randbytes(chance.randrange(60)) for _ in range(200)]
    for data in junk:
        remote.raw(party, data)
        party.table.receive(0.0)
        party.table.playout(0.0, 8000)
    remote.send(party, 0, payload_type=96)
    deadline = time.monotonic() + 5
    refused = party.table.refused
    while party.table.refused == refused:
        assert time.monotonic() < deadline
        party.table.receive(0.0)
    assert refused > 100


def test_telephone_events_are_received_and_not_played(party, remote):
    party.start(remote.port, telephone_event_type=101)
    remote.send(party, 0, payload_type=101, payload=bytes(4))
    party.receive(0.0, 1)
    party.play(0.0)
    party.play(0.02)
    assert not party.sound().any()
    assert party.stats["rx"]["packets_discarded"] == 0


def test_odd_headers_and_sizes_in_one_batch_are_decoded(opened):
    table = StreamTable(4, random=random.Random(1))
    transports = [table.open_transport(HOST, PORTS) for _ in range(3)]
    remotes = [Remote() for _ in transports]
    opened += remotes
    codecs = [("PCMU", 0), ("PCMA", 8), ("PCMU", 0)]
    options = [{}, {"csrcs": (1, 2)}, {"extension": (1, b"abcd"), "payload": b"\x90" * 240}]
    rows = []
    for transport, remote, (name, kind) in zip(transports, remotes, codecs, strict=True):
        rows.append(table.add(transport.id, StreamConfig(HOST, remote.port, name, kind, 8000), 0.0))
    for transport, remote, (_, kind), extra in zip(transports, remotes, codecs, options, strict=True):
        fields = {"payload": b"\x90" * 160, **extra}
        packet = RTPPacket(kind, 1, 160, 3, **fields)
        remote.rtp.sendto(bytes(packet), (HOST, transport.rtp_port))
    deadline = time.monotonic() + 5
    while sum(table.statistics(row)["rx"]["packets"] for row in rows) < 3:
        assert time.monotonic() < deadline
        table.receive(0.0)
    table.playout(0.0, 8000)
    _, frames = table.playout(TICK, 8000)
    assert [sorted(set(frame.tolist())) for frame in frames] == [[15996], [2752], [15996]]
    table.close(1.0)


def test_missing_media_is_told_after_the_timeout_and_then_at_intervals(party, remote):
    party.start(remote.port, no_media_timeout=2.0, media_check_interval=5.0)
    row, transport_id = party.row, party.transport.id
    assert party.table.events(1.9) == []
    assert party.table.events(2.0) == [NoMedia(row, transport_id, False)]
    remote.send(party, 0)
    party.receive(3.0, 1)
    assert party.table.events(7.0) == [FirstPacket(row, transport_id, HOST, remote.port)]
    assert party.table.events(12.0) == [NoMedia(row, transport_id, True)]
    party.table.set_direction(row, "sendonly", 13.0)
    assert party.table.events(17.0) == []


def test_checks_can_be_switched_off(party, remote):
    party.start(remote.port, no_media_timeout=0.0)
    assert party.table.events(1e6) == []


def test_streams_of_different_rates_are_played_apart(opened):
    table = StreamTable(4, random=random.Random(1))
    rows = {}
    for rate in (8000, 16000, 8000):
        transport = table.open_transport(HOST, PORTS)
        rows.setdefault(rate, []).append(table.add(transport.id, StreamConfig(HOST, 9, "PCMU", 0, rate), 0.0))
    for rate in (8000, 16000):
        played, frames = table.playout(0.0, rate)
        assert played.tolist() == rows[rate]
        assert frames.shape == (len(rows[rate]), rate // 50)
    table.close(1.0)


def test_faults_of_the_caller_are_said(party, remote):
    party.start(remote.port)
    with pytest.raises(StreamError, match="already"):
        party.start(remote.port)
    with pytest.raises(UnknownObject):
        party.table.add(99, party.config, 0.0)
    with pytest.raises(UnknownObject):
        party.table.statistics(7)
    for wrong in ({"direction": "both"}, {"ptime_ms": 25}, {"mixer_rate": 11025}, {"payload_type": 128}):
        options = {"codec": "PCMU", "payload_type": 0, "mixer_rate": 8000, **wrong}
        with pytest.raises(StreamError):
            party.table.update(party.row, StreamConfig(HOST, 9, **options), 0.0)
    with pytest.raises(CodecUnavailable):
        party.table.update(party.row, StreamConfig(HOST, 9, "G729", 18, 8000), 0.0)
    assert party.say(0.0, tone(8000, 0)) == 1


@pytest.mark.parametrize(
    ("host", "remote"), [(HOST, "::1"), ("::1", HOST), (HOST, "host.example"), (HOST, ""), (HOST, "127.0.0.1:5")]
)
def test_an_address_that_the_sockets_cannot_send_to_is_refused(host, remote):
    table = StreamTable(1, random=random.Random(1))
    transport = table.open_transport(host, PORTS)
    unreachable = StreamConfig(remote, 9, "PCMU", 0, 8000)
    with pytest.raises(StreamError, match="cannot be reached from"):
        table.add(transport.id, unreachable, 0.0)
    row = table.add(transport.id, StreamConfig(host, 9, "PCMU", 0, 8000), 0.0)
    with pytest.raises(StreamError, match="cannot be reached from"):
        table.update(row, unreachable, 0.0)
    assert table.send(0.0, table.sending_rows(8000), tone(8000, 0).reshape(1, -1)) is None
    assert table.statistics(row)["tx"]["packets"] == 1
    table.close(1.0)


def test_full_table_refuses_and_rows_are_reused():
    table = StreamTable(1, random=random.Random(1))
    first, second = (table.open_transport(HOST, PORTS) for _ in range(2))
    config = StreamConfig(HOST, 9, "PCMU", 0, 8000)
    row = table.add(first.id, config, 0.0)
    with pytest.raises(StreamError, match="in use"):
        table.add(second.id, config, 0.0)
    table.close_transport(first.id, 1.0)
    table.close_transport(first.id, 1.0)
    assert table.add(second.id, config, 1.0) == row
    table.close(2.0)


def dial(a: Party, b: Party, digits: str, ticks: int, lost=lambda number: False) -> list[str]:
    """Let `a` press keys while it says a tone; returns what `b` is told."""
    talk(a, b, 10)
    for digit in digits:
        a.table.send_digit(a.row, digit)
    told = []
    for tick in range(10, ticks):
        now = tick * TICK
        sent = a.say(now, tone(a.rate, tick))
        if lost(tick):
            for _ in range(sent):
                b.table._streams[b.row].transport.rtp.recv(2000)
            sent = 0
        b.receive(now, sent)
        b.play(now)
        told += [event.digit for event in b.table.events(now) if isinstance(event, DigitReceived)]
    return told


@pytest.mark.parametrize("rates", [(8000, 8000), (48000, 16000)])
@pytest.mark.parametrize("ptime", [20, 30])
def test_digits_are_told_once_each_and_the_audio_goes_on(opened, rates, ptime):
    a, b = connect(opened, rates, telephone_event_type=101, ptime_ms=ptime)
    assert "".join(dial(a, b, "19*D", 120)) == "19*D"
    assert measure(b.sound()[-b.rate // 2 :], b.rate)[0] == pytest.approx(440, abs=3)
    assert b.stats["rx"]["packets_lost"] == b.stats["rx"]["packets_discarded"] == 0


@pytest.mark.parametrize("lost", [lambda n: n in range(10, 19), lambda n: n > 10 and n % 13 > 3, lambda n: n % 3 > 0])
def test_digits_survive_loss(opened, lost):
    a, b = connect(opened, telephone_event_type=101)
    assert "".join(dial(a, b, "123", 60, lost)) == "123"


def test_a_hold_within_a_digit_does_not_repeat_it(opened):
    a, b = connect(opened, telephone_event_type=101)

    def hold_shortly(tick: int) -> bool:
        if tick in (14, 15):
            b.table.set_direction(b.row, "sendonly" if tick == 14 else "sendrecv", tick * TICK)
        return False

    assert dial(a, b, "5", 40, hold_shortly) == ["5"]


def test_packets_of_a_digit_take_the_place_of_audio(party, remote):
    party.start(remote.port, telephone_event_type=101)
    party.table.send_digit(party.row, "8")
    for tick in range(15):
        party.say(tick * TICK, tone(8000, tick))
    packets = [RTPPacket.parse(remote.rtp.recv(2000)) for _ in range(15)]
    first = packets[0]
    assert [packet.sequence - first.sequence for packet in packets] == list(range(15))
    assert [packet.payload_type for packet in packets] == [101] * 12 + [0] * 3
    assert {packet.timestamp for packet in packets[:12]} == {first.timestamp}
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets[12:]] == [1920, 2080, 2240]
    assert [packet.marker for packet in packets[:12]] == [True] + [False] * 11
    assert packets[0].payload == b"\x08\x0a\x00\xa0"
    assert packets[9].payload == packets[11].payload == b"\x08\x8a\x06\x40"
    assert party.stats["tx"]["packets"] == 15


def test_digits_need_an_agreement_and_a_stream_that_sends(party, remote):
    party.start(remote.port)
    with pytest.raises(StreamError, match="not agreed"):
        party.table.send_digit(party.row, "1")
    party.table.update(party.row, replace(party.config, telephone_event_type=101), 0.0)
    with pytest.raises(StreamError, match="no DTMF digit"):
        party.table.send_digit(party.row, "x")
    party.table.send_digit(party.row, "1")
    party.table.set_direction(party.row, "recvonly", 0.0)
    with pytest.raises(StreamError, match="on hold"):
        party.table.send_digit(party.row, "1")
    party.table.set_direction(party.row, "sendrecv", 0.0)
    # What was pressed before the hold is not sent after it.
    party.say(0.0, tone(8000, 0))
    assert RTPPacket.parse(remote.rtp.recv(2000)).payload_type == 0


def test_one_of_several_streams_dials(party, remote):
    party.start(remote.port, telephone_event_type=101)
    other = party.table.open_transport(HOST, PORTS)
    row = party.table.add(other.id, party.config, 0.0)
    party.table.send_digit(row, "1")
    party.table.send(0.0, party.table.sending_rows(8000), np.zeros((2, 160), np.int16))
    kinds = {RTPPacket.parse(data).payload_type: port for data, (_, port) in (remote.rtp.recvfrom(2000) for _ in "12")}
    assert kinds == {0: party.transport.rtp_port, 101: other.rtp_port}


def test_damaged_and_unknown_events_are_no_digits(party, remote):
    party.start(remote.port, telephone_event_type=101)
    for number, payload in enumerate([b"\x01\x0a", b"\x10\x0a\x00\xa0", b"\x02\x0a\x00\xa0"]):
        remote.send(party, number, payload_type=101, payload=payload)
        party.receive(number * TICK, 1)
    assert [event.digit for event in party.table.events(0.0) if isinstance(event, DigitReceived)] == ["2"]
    assert party.stats["rx"]["packets_discarded"] == 1


def test_what_waits_for_a_stream_that_is_gone_is_forgotten(party, remote):
    party.start(remote.port, telephone_event_type=101)
    party.table.send_digit(party.row, "1")
    party.table.remove(party.row, 0.0)
    party.start(remote.port, telephone_event_type=101)
    party.say(0.0, tone(8000, 0))
    assert RTPPacket.parse(remote.rtp.recv(2000)).payload_type == 0


def test_a_clock_for_digits_must_make_whole_frames(party, remote):
    with pytest.raises(StreamError, match="for digits"):
        party.start(remote.port, telephone_event_rate=8001)
