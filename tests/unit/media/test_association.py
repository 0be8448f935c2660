"""Whom a DTLS handshake is held with, among strangers."""

from __future__ import annotations

import pytest

from sipsimple.media.association import Association
from sipsimple.media.dtls import HANDSHAKE_SECONDS, Handshake
from tests.unit.media.test_dtls import keying

HOME = ("192.0.2.1", 4000)
AWAY = ("198.51.100.7", 61000)
STRANGER = ("203.0.113.66", 666)
BAD_HELLO = b"\x16\xfe\xfd" + bytes(9) + b"\x10" + b"\xff" * 16
"""A record that claims to be the beginning of a handshake."""


def converse(association: Association, client: Handshake, address, flight: list[bytes]) -> None:
    """Carry what the client says from this address, and the answers to it."""
    while flight:
        replies = [reply for data in flight for reply in association.receive(data, address, 0.0)]
        assert all(target == address for _, target in replies)
        flight = [reply for data, _ in replies for reply in client.receive(data)]


def passive() -> Association:
    return Association(keying(False), HOME, 0.0)


@pytest.mark.parametrize("address", [HOME, AWAY])
def test_a_remote_may_come_from_another_address(address):
    association, client = passive(), Handshake(keying(True), 0.0)
    converse(association, client, address, client.begin())
    assert association.keys.send == client.keys.receive
    assert association.done


def test_garbage_of_strangers_ends_nothing():
    association, client = passive(), Handshake(keying(True), 0.0)
    for _ in range(50):
        association.receive(BAD_HELLO, STRANGER, 0.0)
    converse(association, client, HOME, client.begin())
    assert association.keys is not None


def test_a_stranger_with_another_certificate_gets_nowhere():
    association, intruder = passive(), Handshake(keying(True), 0.0)
    association._keying = keying(False, bytes(32))
    association._handshake = Handshake(association._keying, 0.0)
    converse(association, intruder, STRANGER, intruder.begin())
    assert association.failure is None
    assert association.keys is None
    association.wake(HANDSHAKE_SECONDS)
    assert "certificate" in association.failure  # what was wrong is told, not only that the time is up


def test_the_signalled_address_may_interrupt_and_nobody_else():
    association, slow, client = passive(), Handshake(keying(True), 0.0), Handshake(keying(True), 0.0)
    hello = slow.begin()
    assert all(target == STRANGER for _, target in association.receive(hello[0], STRANGER, 0.0))
    assert association.receive(Handshake(keying(True), 0.0).begin()[0], AWAY, 0.0) == []
    converse(association, client, HOME, client.begin())
    assert association.keys.send == client.keys.receive
    assert association.receive(b"\x16" * 20, STRANGER, 0.0) == []


def test_what_the_signalled_remote_does_wrong_is_the_end():
    association, client = Association(keying(False, bytes(32)), HOME, 0.0), Handshake(keying(True), 0.0)
    converse(association, client, HOME, client.begin())
    assert "certificate" in association.failure
    assert association.wake(1.0) == association.end() == []


def answered(association: Association, server: Handshake, source, flight: list[bytes]) -> None:
    """Carry what the server says from this address, and the answers to it."""
    while flight:
        out = [sent for data in flight for sent in association.receive(data, source, 0.0)]
        assert all(target == source for _, target in out)
        flight = [reply for data, _ in out for reply in server.receive(data)]


@pytest.mark.parametrize("address", [HOME, AWAY])
def test_who_begins_may_be_answered_from_another_address(address):
    association, server = Association(keying(True), HOME, 0.0), Handshake(keying(False), 0.0)
    ((hello, target),) = association.begin()
    assert target == HOME
    assert association.receive(b"\x16\xfe\xfd" + bytes(30), STRANGER, 0.0) == []
    answered(association, server, address, server.receive(hello))
    assert association.keys.send == server.keys.receive


def test_who_begins_does_so_again_when_a_stranger_has_spoilt_it():
    association, intruder = Association(keying(True), HOME, 0.0), Handshake(keying(False), 0.0)
    association.begin()
    sent = []
    for data in intruder.receive(Handshake(keying(True), 0.0).begin()[0]):
        sent += association.receive(data, STRANGER, 0.0)
    (hello,) = [data for data, target in sent if target == HOME]
    server = Handshake(keying(False), 0.0)
    answered(association, server, HOME, server.receive(hello))
    assert association.keys.send == server.keys.receive


def test_a_remote_that_was_not_heard_yet_is_spoken_to_where_it_was_last_signalled():
    association = Association(keying(True), HOME, 0.0)
    assert {target for _, target in association.begin()} == {HOME}
    association.signal(AWAY)
    assert (association.signalled, association._remote) == (AWAY, AWAY)


def test_a_remote_that_was_heard_is_spoken_to_where_it_is():
    association, client = passive(), Handshake(keying(True), 0.0)
    converse(association, client, HOME, client.begin())
    association.signal(AWAY)
    assert association._remote == HOME
