"""SRTP of one stream: vectors of RFC 3711, what is refused, and keys that change."""

from __future__ import annotations

import hashlib
import hmac
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sipsimple.media.errors import StreamError
from sipsimple.media.keys import SUITES, DTLSKeying, SRTPKeys
from sipsimple.media.packet import RTPPacket
from sipsimple.media.rtcp import ReportPacket, SourceDescription, compound
from sipsimple.media.srtp import (
    MAX_SOURCES,
    OLD_KEY_SECONDS,
    RECOUNT_AFTER,
    ProtectionFailed,
    SRTPReceiver,
    SRTPSender,
)

AES = "AES_CM_128_HMAC_SHA1_80"
# RFC 3711 B.3.
MASTER_KEY = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
MASTER_SALT = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
EACH_SUITE = pytest.mark.parametrize("suite", sorted(SUITES))


def key_of(suite: str) -> bytes:
    return os.urandom(sum(SUITES[suite]))


def packet(sequence: int, ssrc: int = 7, payload: bytes = b"\x55" * 160) -> bytes:
    return bytes(RTPPacket(0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc, payload))


def pair(suite: str = AES) -> tuple[SRTPSender, SRTPReceiver, bytes]:
    key, sender, receiver = key_of(suite), SRTPSender(), SRTPReceiver()
    sender.use(suite, key)
    receiver.use(suite, key, 0.0)
    return sender, receiver, key


def keystream(key: bytes, start: int, size: int) -> bytes:
    """AES in counter mode from a counter of 128 bits (RFC 3711 4.1.1)."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(start.to_bytes(16, "big"))).encryptor()
    return encryptor.update(bytes(size))


def derived(label: int, size: int) -> bytes:
    """RFC 3711 4.3.1, without a key derivation rate."""
    return keystream(MASTER_KEY, (int.from_bytes(MASTER_SALT, "big") ^ (label << 48)) << 16, size)


def test_keys_are_derived_and_used_as_in_the_rfc():
    cipher_key, auth_key, salt = derived(0, 16), derived(1, 20), derived(2, 14)
    assert cipher_key.hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert salt.hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert auth_key.hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"
    plain = bytes.fromhex("800f1234decafbadcafebabe") + b"\xab" * 16
    counter = (int.from_bytes(salt, "big") << 16) ^ (0xCAFEBABE << 64) ^ (0x1234 << 16)
    stream = keystream(cipher_key, counter, 16)
    sealed = plain[:12] + bytes(a ^ b for a, b in zip(plain[12:], stream, strict=True))
    sealed += hmac.digest(auth_key, sealed + bytes(4), hashlib.sha1)[:10]
    assert sealed.hex() == "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    sender, receiver = SRTPSender(), SRTPReceiver()
    sender.use(AES, MASTER_KEY + MASTER_SALT)
    receiver.use(AES, MASTER_KEY + MASTER_SALT, 0.0)
    assert sender.protect(plain) == sealed
    assert receiver.open(sealed, False, 0.0) == plain


@EACH_SUITE
def test_what_is_sealed_is_opened(suite):
    sender, receiver, _ = pair(suite)
    for sequence in range(100):
        plain = packet(sequence)
        sealed = sender.protect(plain)
        assert sealed[:12] == plain[:12]
        assert plain[12:] not in sealed
        assert receiver.open(sealed, False, 0.0) == plain
    report = compound([ReportPacket(7, (), None), SourceDescription(7, "name")])
    sealed = sender.protect_control(report)
    assert receiver.open(sealed, True, 0.0) == report
    assert (receiver.unauthentic, receiver.replayed) == (0, 0)


@EACH_SUITE
def test_what_was_changed_or_came_before_is_refused_and_counted(suite):
    sender, receiver, _ = pair(suite)
    sealed = sender.protect(packet(1))
    for octet in (2, 20, len(sealed) - 1):
        forged = bytearray(sealed)
        forged[octet] ^= 1
        assert receiver.open(bytes(forged), False, 0.0) is None
    assert (receiver.unauthentic, receiver.replayed) == (3, 0)
    assert receiver.open(sealed, False, 0.0) is not None
    assert receiver.open(sealed, False, 0.0) is None
    assert (receiver.unauthentic, receiver.replayed) == (3, 1)
    report = sender.protect_control(compound([ReportPacket(7, (), None)]))
    assert receiver.open(report, True, 0.0) is not None
    assert receiver.open(report, True, 0.0) is None
    assert receiver.replayed == 2


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x80\x00" + bytes(9), b"\x8f" + bytes(11), b"\x90\x00" + b"\xff" * 30]
)
@pytest.mark.parametrize("control", [False, True])
def test_garbage_is_refused(data, control):
    _, receiver, _ = pair()
    assert receiver.open(data, control, 0.0) is None
    assert receiver.unauthentic == 1


def test_the_rollover_counter_follows_the_sequence():
    sender, receiver, _ = pair()
    for sequence in (65000, 65535, 65536, 65538, 65537, 98000, 130000, 131072, 140000):
        sealed = sender.protect(packet(sequence))
        assert receiver.open(sealed, False, 0.0) == packet(sequence), sequence


def test_a_source_that_restarts_is_opened():
    sender, receiver, _ = pair()
    for ssrc in range(3 * MAX_SOURCES):
        assert receiver.open(sender.protect(packet(5, ssrc)), False, 0.0) == packet(5, ssrc)
    assert len(receiver._current._sources) == MAX_SOURCES


def test_packets_under_the_key_before_are_opened_for_a_while():
    old, receiver, _ = pair()
    new, key = SRTPSender(), key_of(AES)
    new.use(AES, key)
    receiver.use(AES, key, 10.0)
    assert receiver.open(new.protect(packet(1)), False, 10.0) == packet(1)
    assert receiver.open(old.protect(packet(2)), False, 10.0) == packet(2)
    assert receiver.open(new.protect(packet(3)), False, 10.0) == packet(3)
    assert receiver.open(old.protect(packet(4)), False, 10.0 + OLD_KEY_SECONDS) is None
    assert receiver.unauthentic == 1


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("sequence", [20, 30_000, 65_000])
def test_a_remote_may_go_on_counting_under_a_new_key(turns, sequence):
    first, receiver, _ = pair()
    reached = turns * 65536 + sequence
    for index in range(reached % 20_000, reached + 1, 20_000):
        assert receiver.open(first.protect(packet(index)), False, 0.0) == packet(index)
    key, second = key_of(AES), SRTPSender()
    receiver.use(AES, key, 100.0)
    second.use(AES, key)
    for index in range(0, reached, 20_000):
        second.protect(packet(index))  # its counter goes on from where that of the first key was
    opened = [receiver.open(second.protect(packet(reached + step)), False, 200.0) for step in range(1, 10)]
    assert opened[: RECOUNT_AFTER - 1] == [None] * (RECOUNT_AFTER - 1)
    assert opened[RECOUNT_AFTER - 1 :] == [packet(reached + step) for step in range(RECOUNT_AFTER, 10)]
    for step in range(10, 60_000, 9_999):
        assert receiver.open(second.protect(packet(reached + step)), False, 200.0) == packet(reached + step)


def test_a_remote_may_begin_to_count_anew_under_a_new_key():
    first, receiver, _ = pair()
    for index in range(0, 140_000, 20_000):
        assert receiver.open(first.protect(packet(index)), False, 0.0) is not None
    key, second = key_of(AES), SRTPSender()
    receiver.use(AES, key, 100.0)
    second.use(AES, key)
    for sequence in range(11_000, 11_010):
        assert receiver.open(second.protect(packet(sequence)), False, 200.0) == packet(sequence)
    assert receiver.unauthentic == 0


def test_strangers_do_not_disturb_a_new_key():
    first, receiver, _ = pair()
    for index in range(0, 140_000, 20_000):
        receiver.open(first.protect(packet(index)), False, 0.0)
    key, second = key_of(AES), SRTPSender()
    receiver.use(AES, key, 100.0)
    second.use(AES, key)
    for sequence in range(3 * RECOUNT_AFTER):
        assert receiver.open(packet(sequence), False, 200.0) is None
    assert receiver.unauthentic == 3 * RECOUNT_AFTER
    assert receiver.open(second.protect(packet(11_000)), False, 200.0) == packet(11_000)


def test_the_same_key_again_changes_nothing():
    sender, receiver, key = pair()
    sealed = sender.protect(packet(1))
    assert receiver.open(sealed, False, 0.0) is not None
    sender.use(AES, key)
    receiver.use(AES, key, 1.0)
    assert receiver.open(sealed, False, 1.0) is None
    assert receiver.replayed == 1
    with pytest.raises(ProtectionFailed):
        sender.protect(packet(1))  # the counter has not begun anew


def test_without_a_key_nothing_passes():
    sender, receiver = SRTPSender(), SRTPReceiver()
    with pytest.raises(OSError, match="no key"):
        sender.protect(packet(1))
    with pytest.raises(ProtectionFailed, match="no key"):
        sender.protect_control(packet(1))
    assert receiver.open(packet(1), False, 0.0) is None
    assert (sender.ready, receiver.ready) == (False, False)


def test_a_packet_that_is_too_long_is_not_sent():
    sender, _, _ = pair()
    with pytest.raises(ProtectionFailed):
        sender.protect(packet(1, payload=bytes(1480)))
    with pytest.raises(ProtectionFailed):
        sender.protect_control(b"\x80\xc8" + bytes(1490))


@pytest.mark.parametrize(("suite", "key"), [("F8_128_HMAC_SHA1_80", bytes(30)), (AES, bytes(28)), (AES, b"")])
def test_a_key_has_to_be_one_of_the_suite(suite, key):
    with pytest.raises(StreamError, match="suite"):
        SRTPSender().use(suite, key)


def test_keys_are_not_told():
    secret = b"very secret key"
    assert "secret" not in repr(SRTPKeys(AES, secret, secret))
    assert "secret" not in repr(DTLSKeying(True, "sha256", bytes(32), b"very secret identity"))
