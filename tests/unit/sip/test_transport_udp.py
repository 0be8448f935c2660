"""The UDP socket when the kernel takes nothing, and when much arrives at once; addresses and errors in words."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.transport import Destination, ListenError, SendError, source_address_towards, udp
from sipsimple.sip.transport.address import bare_host, is_ip_literal, is_wildcard, same_host, uri_host
from tests.unit.sip.endpoint_kit import BareUDP, until


class Taker:
    """Collects what a socket receives."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.errors: list[SendError] = []
        self.arrived = asyncio.Event()

    def on_datagram(self, data: bytes, address: Any, channel: Any) -> None:
        self.datagrams.append(data)
        self.arrived.set()

    def on_unreachable(self, datagram: bytes, error: SendError) -> None:
        self.errors.append(error)


@pytest.fixture
async def taker():
    return Taker()


@pytest.fixture
async def channel(taker):
    opened = udp.UDPSocket(taker, "127.0.0.1", 0)
    yield opened
    opened.close()


class Jammed:
    """A socket whose buffer is full for a while, then takes everything but what goes to port 1."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.jammed = True
        self.refused = 0
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, address: Any) -> int:
        if self.jammed:
            self.refused += 1
            raise BlockingIOError(errno.EAGAIN, "full")
        if address[1] == 1:
            raise PermissionError(errno.EPERM, "filtered")
        self.sent.append(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def test_what_the_kernel_does_not_take_goes_out_later_in_order(channel, monkeypatch):
    jammed = Jammed(channel._socket)
    monkeypatch.setattr(channel, "_socket", jammed)
    monkeypatch.setattr(udp, "MAX_QUEUED_DATAGRAMS", 3)
    for number, port in ((b"1", 9), (b"2", 1), (b"3", 9), (b"4", 9)):
        channel.send(number, ("127.0.0.1", port))
    jammed.jammed = False
    await until(lambda: not channel._waiting)
    assert jammed.sent == [b"1", b"3"]
    assert channel.dropped == 2


async def test_flood_is_read_in_turns_of_the_loop(channel, taker, monkeypatch):
    monkeypatch.setattr(udp, "MAX_DATAGRAMS_PER_TURN", 10)
    with BareUDP(Destination("udp", *channel.local)) as bare:
        for number in range(25):
            bare.send(b"%d" % number)
        await taker.arrived.wait()
        assert len(taker.datagrams) == 10
        assert channel.behind_since is not None
        await until(lambda: len(taker.datagrams) == 25)
        await until(lambda: channel.behind_since is None)
    assert taker.datagrams == [b"%d" % number for number in range(25)]


async def test_a_turn_that_has_read_the_last_datagram_leaves_no_backlog(channel, taker, monkeypatch):
    monkeypatch.setattr(udp, "MAX_DATAGRAMS_PER_TURN", 10)
    with BareUDP(Destination("udp", *channel.local)) as bare:
        for number in range(10):
            bare.send(b"%d" % number)
        await until(lambda: len(taker.datagrams) == 10)
        assert channel.behind_since is None


def without_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the running loop one that has no callbacks for sockets, as those of Windows are."""

    def missing(*arguments: Any) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    for name in ("add_reader", "add_writer", "remove_reader", "remove_writer"):
        monkeypatch.setattr(loop, name, missing)


async def test_a_loop_without_reader_callbacks_reads_in_a_task(taker, monkeypatch):
    with monkeypatch.context() as patch, BareUDP(Destination("udp", "127.0.0.1", 9)) as bare:
        without_callbacks(patch)
        opened = udp.UDPSocket(taker, "127.0.0.1", 0)
        for number in range(3):
            bare.socket.sendto(b"%d" % number, opened.local)
        await until(lambda: len(taker.datagrams) == 3)
        opened.close()
        await asyncio.wait([opened._reading])
    assert taker.datagrams == [b"0", b"1", b"2"]


async def test_a_loop_without_writer_callbacks_tries_again(taker, monkeypatch):
    with monkeypatch.context() as patch:
        without_callbacks(patch)
        opened = udp.UDPSocket(taker, "127.0.0.1", 0)
        jammed = Jammed(opened._socket)
        patch.setattr(udp, "RETRY_INTERVAL", 0.001)
        patch.setattr(opened, "_socket", jammed)
        opened.send(b"1", ("127.0.0.1", 9))
        await until(lambda: opened._waiting and jammed.refused > 1)
        jammed.jammed = False
        await until(lambda: not opened._waiting)
        opened.close()
        await asyncio.wait([opened._reading])
    assert jammed.sent == [b"1"]


async def test_a_system_that_grants_smaller_buffers_only_binds_all_the_same(taker, monkeypatch):
    class Stingy(udp.socket.socket):
        def setsockopt(self, level: int, option: int, value: Any) -> None:
            raise OSError(errno.ENOBUFS, "no buffer space available")

    monkeypatch.setattr(udp.socket, "socket", Stingy)
    monkeypatch.setattr(udp.sys, "platform", "freebsd")
    opened = udp.UDPSocket(taker, "127.0.0.1", 0)
    assert opened.is_open
    opened.close()


async def test_datagram_above_the_size_of_ip_is_refused(channel):
    with pytest.raises(SendError) as caught:
        channel.send(b"x" * 70_000, ("127.0.0.1", 9))
    assert caught.value.errno == errno.EMSGSIZE


async def test_closed_socket_refuses_and_may_be_closed_again(channel):
    channel.close()
    channel.close()
    assert not channel.is_open
    with pytest.raises(SendError):
        channel.send(b"x", ("127.0.0.1", 9))


def test_listen_error_says_what_to_do():
    error = ListenError("udp", "::1", 80, PermissionError(errno.EACCES, ""))
    assert str(error) == (
        "cannot listen on udp [::1]:80: Permission denied (ports below 1024 need privileges: choose a higher one)"
    )
    assert (error.transport, error.address, error.port, error.errno) == ("udp", "::1", 80, errno.EACCES)


def test_addresses_in_words():
    assert str(Destination("tls", "2001:db8::1", 5061)) == "tls:[2001:db8::1]:5061"
    assert uri_host("fe80::1%eth0") == "[fe80::1]"
    assert bare_host("[::1]") == "::1"
    assert is_wildcard("::")
    assert not is_wildcard("127.0.0.1")
    assert is_ip_literal("[2001:db8::1]")
    assert not is_ip_literal("example.com")
    assert source_address_towards("127.0.0.1") == "127.0.0.1"
    assert source_address_towards("256.0.0.1") is None


@given(st.ip_addresses(v=6))
def test_every_spelling_of_an_ipv6_address_is_the_same_host(address):
    assert same_host(str(address), f"[{address.exploded.upper()}]")


def test_hosts_that_differ():
    assert same_host("Example.COM", "example.com")
    assert not same_host("127.0.0.1", "127.0.0.2")
    assert not same_host("2001:db8::1", "2001:db8::2")
    assert not same_host("2001:db8::1", "not:an:address")
