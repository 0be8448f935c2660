"""Sockets in batches: ports by the rules, both ways of waiting, errors of the network are counted."""

from __future__ import annotations

import itertools
import random
import select
import socket

import pytest

from sipsimple.media.errors import PortsExhausted, StreamError
from sipsimple.media.net import MAX_REST, REST, DatagramReader, PortAllocator, discard_pending, socket_address


def free_range(pairs: int) -> tuple[int, int]:
    """Find a range of free ports that begins with an even one."""
    for first in range(21000, 60000, 2 * pairs + 2):
        taken = []
        try:
            for port in range(first, first + 2 * pairs):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                taken.append(sock)
                sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for sock in taken:
                sock.close()
        return first, first + 2 * pairs - 1
    pytest.skip("no free range of ports")


@pytest.fixture
def opened():
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.fixture(params=[False, True], ids=["native", "portable"])
def reader(request):
    reader = DatagramReader(portable=request.param)
    yield reader
    reader.close()


def pair(opened, family=socket.AF_INET, host="127.0.0.1"):
    for _ in range(2):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
        opened.append(sock)
    return opened[-2], opened[-1]


def readable(sock: socket.socket) -> None:
    assert select.select([sock], [], [], 5)[0]


def test_rtp_gets_even_ports_and_rtcp_the_next_until_all_are_in_use(opened):
    span = free_range(4)
    allocator = PortAllocator(random.Random(3))
    ports = []
    for _ in range(4):
        rtp, rtcp = allocator.open_pair("127.0.0.1", span)
        opened += [rtp, rtcp]
        ports.append(rtp.getsockname()[1])
        assert rtcp.getsockname()[1] == ports[-1] + 1
    assert sorted(ports) == list(range(span[0], span[1], 2))
    # From a random start, two by two, around the end.
    assert [(b - a) % 8 for a, b in itertools.pairwise(ports)] == [2, 2, 2]
    with pytest.raises(PortsExhausted) as caught:
        allocator.open_pair("127.0.0.1", span)
    assert (caught.value.first, caught.value.last) == span


def test_pair_with_a_busy_rtcp_port_is_passed_over(opened):
    span = free_range(2)
    busy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.append(busy)
    busy.bind(("127.0.0.1", span[0] + 1))
    opened.extend(PortAllocator(random.Random(1)).open_pair("127.0.0.1", span))
    assert opened[-2].getsockname()[1] == span[0] + 2


def test_odd_start_is_rounded_up_and_an_empty_range_has_no_ports(opened):
    span = free_range(2)
    opened.extend(PortAllocator(random.Random(1)).open_pair("127.0.0.1", (span[0] + 1, span[1])))
    assert opened[-2].getsockname()[1] == span[0] + 2
    with pytest.raises(PortsExhausted):
        PortAllocator(random.Random(1)).open_pair("127.0.0.1", (span[0] + 1, span[0] + 2))


def test_ports_rest_between_two_calls_and_forget_the_old_one(opened):
    span = free_range(8)
    allocator = PortAllocator(random.Random(3))
    rtp, rtcp = allocator.open_pair("127.0.0.1", span, 0.0)
    port = rtp.getsockname()
    allocator.give_back("127.0.0.1", span, rtp, rtcp, 10.0)
    early = allocator.open_pair("127.0.0.1", span, 10.0 + REST / 2)
    opened += early
    assert early[0].getsockname() != port
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.append(stranger)
    stranger.sendto(b"of the old call", port)
    readable(rtp)
    again = allocator.open_pair("127.0.0.1", span, 10.0 + REST)
    opened += again
    assert again == (rtp, rtcp)
    with pytest.raises(BlockingIOError):
        rtp.recv(100)


def test_resting_ports_are_used_before_a_call_is_refused(opened):
    span = free_range(1)
    allocator = PortAllocator(random.Random(3))
    pair = allocator.open_pair("127.0.0.1", span, 0.0)
    opened += pair
    allocator.give_back("127.0.0.1", span, *pair, 1.0)
    assert allocator.open_pair("127.0.0.1", span, 1.0) == pair
    with pytest.raises(PortsExhausted):
        allocator.open_pair("127.0.0.1", span, 99.0)


def test_ports_that_nobody_needs_are_closed():
    span = free_range(3)
    allocator = PortAllocator(random.Random(3))
    old, new = (allocator.open_pair("127.0.0.1", span, 0.0) for _ in range(2))
    allocator.give_back("127.0.0.1", span, *old, 0.0)
    allocator.give_back("127.0.0.1", span, *new, MAX_REST + 1)
    assert [sock.fileno() == -1 for sock in (*old, *new)] == [True, True, False, False]
    allocator.close()
    assert [sock.fileno() for sock in new] == [-1, -1]


def test_address_of_another_host_is_refused():
    with pytest.raises(StreamError, match=r"192\.0\.2\.1"):
        PortAllocator(random.Random(1)).open_pair("192.0.2.1", (30000, 30010))


def test_one_round_reads_one_datagram_of_each_socket(reader, opened):
    near, far = pair(opened)
    other, _ = pair(opened)
    reader.watch(near, 7)
    reader.watch(other, 9)
    for data in (b"one", b"two"):
        far.sendto(data, near.getsockname())
    readable(near)
    seen = []
    for _ in range(3):
        received = reader.round()
        seen += [
            (key, source, bytes(data[:size]))
            for key, source, size, data in zip(
                received.keys, received.sources, received.sizes, received.datagrams, strict=True
            )
        ]
    assert seen == [(7, far.getsockname(), b"one"), (7, far.getsockname(), b"two")]
    reader.forget(near)
    reader.forget(other)
    reader.forget(other)
    far.sendto(b"three", near.getsockname())
    assert reader.round().keys == []


def test_a_socket_that_was_forgotten_can_be_read_again(reader, opened):
    near, far = pair(opened)
    for key in (1, 2):
        reader.watch(near, key)
        far.sendto(b"heard", near.getsockname())
        readable(near)
        assert reader.round().keys == [key]
        reader.forget(near)
        far.sendto(b"not heard", near.getsockname())
        readable(near)
        assert reader.round().keys == []
        discard_pending(near)


def test_a_socket_with_the_number_of_a_closed_one_is_read(reader, opened):
    near, far = pair(opened)
    reader.watch(near, 1)
    reader.forget(near)
    number = near.fileno()
    near.close()
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.append(other)
    assert other.fileno() == number
    other.setblocking(False)
    other.bind(("127.0.0.1", 0))
    reader.watch(other, 3)
    far.sendto(b"heard", other.getsockname())
    readable(other)
    assert reader.round().keys == [3]


def test_icmp_errors_are_counted(reader, opened):
    near, far = pair(opened)
    near.connect(far.getsockname())
    far.close()
    reader.watch(near, 1)
    near.send(b"nobody hears")
    readable(near)
    assert reader.round().keys == []
    assert reader.errors == 1


def test_ipv6_addresses_look_as_the_socket_reports_them(reader, opened):
    try:
        near, far = pair(opened, socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    reader.watch(near, 1)
    far.sendto(b"six", near.getsockname())
    readable(near)
    assert reader.round().sources == [socket_address("::1", far.getsockname()[1])]


def test_pending_datagrams_are_thrown_away(opened):
    near, far = pair(opened)
    for _ in range(3):
        far.sendto(b"old", near.getsockname())
    readable(near)
    assert discard_pending(near) == 3
    assert discard_pending(near) == 0
