"""Ports that the media engine has open before a call asks for them."""

from __future__ import annotations

import pytest

from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.ready_ports import FIRST_READY, MAX_SHELVES
from sipsimple.core.media.rtp import RTPTransport
from sipsimple.media import commands

ADDRESS = "127.0.0.1"
WIDE = (50000, 50999)


@pytest.fixture
def client(host, mixer):
    client = MediaClient()
    client.port_range = WIDE
    host.reply[commands.OpenTransports] = addresses(60)
    return client


def addresses(count, first=50000):
    return tuple(commands.LocalAddress(ADDRESS, first + 2 * n, first + 2 * n + 1) for n in range(count))


def asked(host):
    return [len(command.transports) for command in host.sent(commands.OpenTransports)]


def test_only_the_first_transport_has_to_wait(host, client):
    first, second = RTPTransport(ADDRESS), RTPTransport(ADDRESS)
    assert not first.open_at_once()
    assert asked(host) == [FIRST_READY]
    assert second.open_at_once()
    assert (second.state, second.local_rtp_port) == ("INIT", 50000)
    assert second.id == host.sent(commands.OpenTransports)[0].transports[0]
    second.close()
    assert host.sent(commands.CloseTransport) == [commands.CloseTransport(second.id)]


def test_more_are_asked_for_before_there_are_none(host, client):
    opened = [client.ready_ports.take(ADDRESS, WIDE) for _ in range(40)]
    assert opened[0] is None
    assert all(opened[1:])
    assert len({transport.id for transport in opened[1:]}) == 39
    assert max(asked(host)) <= FIRST_READY


def test_calls_that_come_faster_than_the_engine_answers_have_more_kept_ready(host, client):
    host.hold.add(commands.OpenTransports)
    assert [client.ready_ports.take(ADDRESS, WIDE) for _ in range(3)] == [None] * 3
    host.release()
    for _ in range(FIRST_READY):
        client.ready_ports.take(ADDRESS, WIDE)
    assert asked(host)[0] == FIRST_READY
    assert asked(host)[1] > FIRST_READY


def test_a_small_range_is_left_to_those_who_need_it(host, client):
    assert client.ready_ports.take(ADDRESS, (50000, 50003)) is None
    assert asked(host) == []


def test_scarce_ports_are_what_there_is(host, client):
    host.reply[commands.OpenTransports] = addresses(1)
    assert client.ready_ports.take(ADDRESS, WIDE) is None
    host.reply[commands.OpenTransports] = ()
    assert client.ready_ports.take(ADDRESS, WIDE) is not None
    assert client.ready_ports.take(ADDRESS, WIDE) is None


def test_ports_of_an_address_that_is_not_used_any_more_are_closed(host, client):
    for number in range(MAX_SHELVES + 1):
        client.ready_ports.take(f"127.0.0.{number + 1}", WIDE)
    dropped = host.sent(commands.OpenTransports)[0].transports
    assert [command.transport for command in host.sent(commands.CloseTransport)] == list(dropped)
