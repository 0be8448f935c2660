"""DTLS handshakes for SRTP between two parties, datagram by datagram."""

from __future__ import annotations

import hashlib
import ssl
import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.core.certificate import self_signed_certificate
from sipsimple.media.dtls import HANDSHAKE_SECONDS, MAX_DATAGRAM, Handshake, datagrams
from sipsimple.media.errors import StreamError
from sipsimple.media.keys import SUITES, DTLSKeying


@cache
def digest(algorithm: str = "sha256") -> bytes:
    text = self_signed_certificate().decode().partition("-----BEGIN PRIVATE")[0]
    return hashlib.new(algorithm, ssl.PEM_cert_to_DER_cert(text.strip())).digest()


def keying(active: bool, fingerprint: bytes | None = None, algorithm: str = "sha256") -> DTLSKeying:
    return DTLSKeying(active, algorithm, fingerprint or digest(algorithm), self_signed_certificate())


def both(**options) -> tuple[Handshake, Handshake]:
    return Handshake(keying(True, **options), 0.0), Handshake(keying(False), 0.0)


def converse(client: Handshake, server: Handshake, flight: list[bytes], lost=lambda number: False) -> int:
    """Carry datagrams to and fro until both are silent; returns how many there were."""
    number, to, other = 0, server, client
    while flight:
        replies = []
        for datagram in flight:
            assert len(datagram) <= MAX_DATAGRAM
            if not lost(number):
                replies += to.receive(datagram)
            number += 1
        flight, to, other = replies, other, to
    return number


def test_both_sides_have_the_same_keys():
    client, server = both()
    assert server.begin() == []
    converse(client, server, client.begin())
    assert client.failure is server.failure is None
    assert client.keys.suite == server.keys.suite
    assert (client.keys.send, client.keys.receive) == (server.keys.receive, server.keys.send)
    assert client.keys.send != client.keys.receive
    assert len(client.keys.send) == sum(SUITES[client.keys.suite])


def test_the_fingerprint_may_be_made_by_another_hash():
    client, server = both(algorithm="sha512")
    converse(client, server, client.begin())
    assert client.keys is not None


def test_another_certificate_than_was_told_is_refused():
    client, server = both(fingerprint=bytes(32))
    converse(client, server, client.begin())
    assert client.keys is None
    assert "certificate" in client.failure
    assert client.done
    assert client.receive(b"\x16") == []


def again(handshake: Handshake) -> list[bytes]:
    """What it sends when it has waited for a second, by the clock of OpenSSL."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if flight := handshake.wake(0.5):
            return flight
    raise AssertionError("nothing was sent again")


def test_what_is_lost_is_sent_again():
    client, server = both()
    assert client.begin()
    converse(client, server, again(client))
    assert client.keys is not None
    assert client.wake(1e9) == []


def test_last_words_that_were_lost_are_repeated():
    client, server = both()
    flight, to = client.begin(), server
    while server.keys is None:
        flight, to = [reply for data in flight for reply in to.receive(data)], client if to is server else server
    assert flight  # they are lost
    converse(client, server, again(client))
    assert client.keys.send == server.keys.receive


def test_a_remote_that_never_answers_is_given_up():
    client, _ = both()
    client.begin()
    client.wake(HANDSHAKE_SECONDS - 1)
    assert not client.done
    assert client.wake(HANDSHAKE_SECONDS) == []
    assert "in time" in client.failure


def test_the_end_is_told_to_the_remote():
    client, server = both()
    assert client.end() == []
    converse(client, server, client.begin())
    (goodbye,) = client.end()
    assert server.receive(goodbye) in ([], server.end())


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_garbage_changes_nothing_or_fails_the_handshake(garbage):
    client, server = both()
    hello = client.begin()
    for data in garbage:
        server.receive(data)
    if server.failure is None:
        converse(client, server, hello)
        assert server.keys is not None or server.failure is not None or not server.done


@given(st.lists(st.integers(0, 1500), max_size=8))
def test_records_are_never_cut(sizes):
    records = [b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size) for size in sizes]
    packed = datagrams(b"".join(records))
    assert b"".join(packed) == b"".join(records)
    ends = {0}
    for record in records:
        ends.add(max(ends) + len(record))
    position = 0
    for datagram in packed:
        position += len(datagram)
        assert position in ends
        assert len(datagram) <= MAX_DATAGRAM or len(datagram) == 13 + int.from_bytes(datagram[11:13], "big")


@pytest.mark.parametrize("identity", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_a_certificate_of_ours_has_to_be_one(identity):
    with pytest.raises(StreamError, match="certificate"):
        Handshake(DTLSKeying(True, "sha256", bytes(32), identity), 0.0)
