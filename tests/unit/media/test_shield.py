"""Encrypted streams over loopback: two tables that talk, strangers that listen or intrude."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import ssl
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sipsimple.core.certificate import self_signed_certificate
from sipsimple.media import shield
from sipsimple.media.dtls import Handshake
from sipsimple.media.errors import StreamError
from sipsimple.media.keys import SUITES, DTLSKeying, SRTPKeys
from sipsimple.media.packet import RTPPacket
from sipsimple.media.rtcp import Bye, ReportPacket, SourceDescription, compound
from sipsimple.media.srtp import SRTPReceiver, SRTPSender
from sipsimple.media.stream import RemoteBye, Secured, SecurityFailed
from sipsimple.media.values import replace
from tests.unit.media.test_streams import HOST, TICK, Party, Remote, connect, talk, tone


@pytest.fixture
def opened() -> Iterator[list[Party | Remote]]:
    parties: list[Party | Remote] = []
    yield parties
    for party in parties:
        if isinstance(party, Party):
            party.table.close(1e6)
        else:
            party.close()


AES = "AES_CM_128_HMAC_SHA1_80"


def keys(suite: str = AES) -> tuple[SRTPKeys, SRTPKeys]:
    """Those of two sides."""
    one, two = (os.urandom(sum(SUITES[suite])) for _ in range(2))
    return SRTPKeys(suite, one, two), SRTPKeys(suite, two, one)


def handshakes(fingerprint: bytes | None = None) -> tuple[DTLSKeying, DTLSKeying]:
    pem = self_signed_certificate()
    certificate = ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIVATE")[0].strip())
    digest = hashlib.sha256(certificate).digest()
    return DTLSKeying(True, "sha256", fingerprint or digest, pem), DTLSKeying(False, "sha256", digest, pem)


def secured(opened, one, two) -> tuple[Party, Party]:
    a, b = Party(1), Party(2)
    opened += [a, b]
    a.start(b.transport.rtp_port, security=one)
    b.start(a.transport.rtp_port, security=two)
    return a, b


def with_remote(opened, security) -> tuple[Party, Remote, SRTPSender]:
    """A secured party and a peer of bare sockets that has the keys for what it sends."""
    party, remote, sender = Party(1), Remote(), SRTPSender()
    opened += [party, remote]
    party.start(remote.port, security=security[0], remote_rtcp_port=remote.rtcp_port)
    sender.use(security[0].suite, security[0].receive)
    return party, remote, sender


def rtp(number: int, **fields) -> bytes:
    values = {"payload_type": 0, "sequence": 100 + number, "timestamp": 160 * number, "ssrc": 5, **fields}
    return bytes(RTPPacket(payload=b"\x90" * 160, **values))


def until(condition, *parties: Party, now: float = 0.0) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        for party in parties:
            party.table.receive(now)


def srtp(party: Party) -> dict:
    return party.stats["srtp"]


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_two_streams_hear_each_other(opened, suite):
    a, b = secured(opened, *keys(suite))
    talk(a, b, 50)
    assert np.abs(b.sound()).max() > 7000
    assert srtp(a) == srtp(b) == {"suite": suite, "unauthentic": 0, "replayed": 0}


def test_plain_streams_know_nothing_of_it(opened):
    a, b = connect(opened)
    talk(a, b, 5)
    assert "srtp" not in a.stats
    assert not a.table._demux
    assert not a.table._shield


def test_nothing_is_readable_on_the_way(opened):
    mine, theirs = keys()
    party, remote, _ = with_remote(opened, (mine, theirs))
    party.say(0.0, tone(8000, 0))
    sealed = remote.rtp.recv(2000)
    plain = party.table._sender
    assert len(sealed) == 12 + 160 + 10
    receiver = SRTPReceiver()
    receiver.use(theirs.suite, theirs.receive, 0.0)
    opened_packet = RTPPacket.parse(receiver.open(sealed, False, 0.0))
    assert opened_packet.ssrc == int(plain.ssrc[party.row])
    assert opened_packet.payload not in sealed
    party.table.rtcp(9.0)
    report = remote.rtcp.recv(2000)
    assert receiver.open(report, True, 0.0)[1] == 200
    assert b"CNAME" not in report


def test_what_is_not_sealed_is_silence_and_is_counted(opened):
    party, remote, sender = with_remote(opened, keys())
    remote.raw(party, rtp(0))
    until(lambda: srtp(party)["unauthentic"] == 1, party)
    wrong = SRTPSender()
    wrong.use(AES, os.urandom(30))
    remote.raw(party, wrong.protect(rtp(1)))
    until(lambda: srtp(party)["unauthentic"] == 2, party)
    assert party.stats["rx"]["packets"] == 0
    assert party.table.events(0.0) == []  # a stranger is no first packet
    remote.raw(party, sender.protect(rtp(2)))
    party.receive(0.0, 1)


@pytest.mark.parametrize("method", ["sdes", "dtls"])
def test_garbage_of_every_kind_is_dropped(opened, method):
    party, remote = Party(1), Remote()
    opened += [party, remote]
    party.start(remote.port, security=keys()[0] if method == "sdes" else handshakes()[1])
    dice = random.Random(5)
    for number in range(400):
        remote.raw(party, bytes([number % 256]) + dice.randbytes(dice.randrange(100)))
        if number % 20 == 0:
            party.table.receive(0.0)
    party.table.receive(0.0)
    assert party.stats["rx"]["packets"] == 0
    assert [event for event in party.table.events(0.0) if not isinstance(event, SecurityFailed)] == []


def test_a_replayed_packet_is_dropped(opened):
    party, remote, sender = with_remote(opened, keys())
    sealed = sender.protect(rtp(0))
    remote.raw(party, sealed)
    party.receive(0.0, 1)
    remote.raw(party, sealed)
    until(lambda: srtp(party)["replayed"] == 1, party)
    assert party.stats["rx"]["packets"] == 1


def test_reports_are_sealed_both_ways(opened):
    party, remote, sender = with_remote(opened, keys())
    remote.raw(party, sender.protect(rtp(0)))
    party.receive(0.0, 1)
    address = (party.transport.address, party.transport.rtcp_port)
    report = compound([ReportPacket(5, (), None), SourceDescription(5, "them")])
    remote.rtcp.sendto(report, address)
    until(lambda: srtp(party)["unauthentic"] == 1, party)
    remote.rtcp.sendto(sender.protect_control(report + compound([ReportPacket(5, (), None), Bye((5,))])), address)
    until(lambda: any(isinstance(event, RemoteBye) for event in party.table.events(0.0)), party)


def test_a_new_key_of_the_remote_leaves_no_gap(opened):
    first, second = keys(), keys()
    party, remote, sender = with_remote(opened, first)
    remote.raw(party, sender.protect(rtp(0)))
    party.receive(0.0, 1)
    # Our key stays, theirs changes; one packet under the old one is late.
    config = replace(party.config, security=SRTPKeys(AES, first[0].send, second[0].receive))
    party.table.update(party.row, config, TICK)
    renewed = SRTPSender()
    renewed.use(AES, second[0].receive)
    for data in (sender.protect(rtp(1)), renewed.protect(rtp(2)), renewed.protect(rtp(3))):
        remote.raw(party, data)
    party.receive(TICK, 3)
    assert srtp(party)["unauthentic"] == 0
    assert party.stats["rx"]["packets_lost"] == 0


def test_a_stream_becomes_plain_and_secret_again(opened):
    one, two = keys()
    a, b = secured(opened, one, two)
    talk(a, b, 3)
    for party in (a, b):
        party.table.update(party.row, replace(party.config, security=None), 1.0)
        assert not party.table._demux
    talk(a, b, 3)
    assert "srtp" not in a.stats
    one, two = keys()
    for party, security in ((a, one), (b, two)):
        party.table.update(party.row, replace(party.config, security=security), 1.0)
    talk(a, b, 3)
    assert srtp(a)["unauthentic"] == 0


def test_many_streams_some_of_them_secret(opened):
    pairs = [connect(opened) if number % 2 else secured(opened, *keys()) for number in range(4)]
    for a, b in pairs:
        talk(a, b, 5)
    assert all(b.stats["rx"]["packets"] == 5 for _, b in pairs)


def test_a_row_is_used_again_without_its_secret(opened):
    a, b = secured(opened, *keys())
    talk(a, b, 2)
    for party in (a, b):
        party.table.remove(party.row, 1.0)
        party.expected = 0
    a.start(b.transport.rtp_port, now=1.0)
    b.start(a.transport.rtp_port, now=1.0)
    talk(a, b, 3)
    assert "srtp" not in b.stats


def test_a_wrong_key_is_told_and_leaves_the_table_as_it_was(opened):
    party = Party(1)
    opened.append(party)
    with pytest.raises(StreamError, match="suite"):
        party.start(4000, security=SRTPKeys("ROT13", b"", b""))
    party.start(4000)
    with pytest.raises(StreamError, match="suite"):
        party.table.update(party.row, replace(party.config, security=SRTPKeys(AES, b"", b"")), 0.0)
    assert "srtp" not in party.stats


# --- DTLS


def collected(*parties: Party) -> list:
    return [event for party in parties for event in party.table.events(0.0)]


def test_keys_are_made_on_the_ports(opened):
    a, b = secured(opened, *handshakes())
    told: dict[Party, list] = {a: [], b: []}

    def done() -> bool:
        for party in told:
            told[party] += [event for event in party.table.events(0.0) if isinstance(event, Secured)]
        return all(told.values()) and all(
            component.association.keys is not None
            for party in told
            for component in party.table._shield._secrets[party.row].components.values()
        )

    until(done, a, b)
    assert told[a] == [Secured(a.row, a.transport.id, "AEAD_AES_256_GCM")]
    talk(a, b, 50)
    assert np.abs(b.sound()).max() > 7000
    for party in (a, b):
        party.table.rtcp(10.0)
    until(lambda: b.table._reporter._heard_report[b.row] != 0, a, b)
    assert srtp(a) == srtp(b) == {"suite": "AEAD_AES_256_GCM", "unauthentic": 0, "replayed": 0}


def test_before_the_keys_nothing_is_sent_or_heard(opened):
    party, remote = Party(1), Remote()
    opened += [party, remote]
    party.start(remote.port, security=handshakes()[1])
    party.table.send(0.0, party.table.sending_rows(8000), tone(8000, 0).reshape(1, -1))
    assert party.stats["tx"]["packets_discarded"] == 1
    remote.raw(party, rtp(0))
    remote.raw(party, b"\x00\x01" + bytes(18))  # STUN, for which nobody waits
    party.table.receive(0.0)
    remote.rtp.settimeout(0.05)
    with pytest.raises(TimeoutError):
        remote.rtp.recv(2000)
    assert party.stats["rx"]["packets"] == 0


def test_a_remote_with_another_certificate_is_told(opened):
    a, b = secured(opened, *handshakes(fingerprint=bytes(32)))
    failed: list = []

    def done() -> bool:
        failed.extend(event for event in collected(a) if isinstance(event, SecurityFailed))
        return bool(failed)

    until(done, a, b)
    assert "certificate" in failed[0].reason
    assert len(failed) == 1
    a.table.receive(1.0)
    assert collected(a) == []


def test_a_stranger_cannot_end_the_handshake_of_others(opened):
    active, passive = handshakes()
    party, remote = Party(1), Remote()
    opened += [party, remote]
    party.start(remote.port, security=passive)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((HOST, 0))
        stranger.sendto(b"\x16\xfe\xfd" + bytes(9) + b"\x10" + b"\xff" * 16, (HOST, party.transport.rtp_port))
        party.table.receive(0.0)
    client = Handshake(active, 0.0)
    for data in client.begin():
        remote.raw(party, data)
    remote.rtp.settimeout(0.01)

    def done() -> bool:
        try:
            data = remote.rtp.recv(2000)
        except TimeoutError:
            return client.keys is not None
        for reply in client.receive(data):
            remote.raw(party, reply)
        return client.keys is not None

    until(done, party)
    assert not any(isinstance(event, SecurityFailed) for event in collected(party))


def test_a_remote_that_does_not_answer_is_told(opened):
    party, remote = Party(1), Remote()
    opened += [party, remote]
    party.start(remote.port, security=handshakes()[0])
    party.table.receive(0.0)
    assert remote.rtp.recv(2000)[0] == 22  # the beginning of a handshake
    party.table.receive(100.0)
    (failed,) = (event for event in collected(party) if isinstance(event, SecurityFailed))
    assert "in time" in failed.reason


def test_few_steps_are_taken_in_one_tick(opened, monkeypatch):
    monkeypatch.setattr(shield, "MAX_STEPS", 1)
    taken = []
    begin = Handshake.begin
    monkeypatch.setattr(Handshake, "begin", lambda handshake: taken.append(1) or begin(handshake))
    a, _ = secured(opened, *handshakes())
    for ticks in (1, 2):
        a.table.receive(0.0)
        assert len(taken) == ticks  # RTP, then RTCP


def test_a_flood_leaves_the_handshakes_of_others_their_turn(opened):
    a, b = secured(opened, *handshakes())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(100):
            stranger.sendto(b"\x16\xfe\xfd" + bytes(20), (HOST, b.transport.rtp_port))
        b.table.receive(0.0)
    assert len(b.table._shield._waiting) <= 2 * shield.MAX_WAITING
    until(lambda: a.stats["srtp"]["suite"] and b.stats["srtp"]["suite"], a, b)
