"""The secured streams of an engine: their keys, and the handshakes that make keys on the media ports.

A stream without security is not known here, and costs nothing. Packets of the others are decrypted before the arrays
see them and encrypted after, one by one: libsrtp takes 3 us for each.

A handshake is computed in steps of less than a millisecond, few in one tick, so that no other stream waits for it. RTP
and RTCP on ports of their own have an association each (RFC 5764 4).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from . import dtls, srtp
from .association import Association, Outgoing
from .demux import Demultiplexer
from .errors import StreamError
from .keys import Security, SRTPKeys
from .net import Address, socket_address
from .srtp import SRTPReceiver, SRTPSender
from .stream import Secured, SecurityFailed, StreamConfig

log = logging.getLogger(__name__)

MAX_STEPS: Final = 4
"""Steps of handshakes in one tick: 2 ms of 20."""
MAX_WAITING: Final = 8
"""Datagrams of one handshake, from the signalled address or from others, that wait; what is dropped comes again."""
MIN_WAKE: Final = 0.05
"""Seconds between the looks at the clocks of handshakes."""


Sockets = tuple[socket.socket, socket.socket]
"""Those of RTP and of RTCP."""


@dataclass(slots=True)
class _Link:
    """One socket of a stream, and where the remote is by its description."""

    sock: socket.socket
    address: Address


@dataclass(slots=True)
class _Component:
    """RTP or RTCP of a stream that makes its keys by DTLS."""

    sock: socket.socket
    association: Association
    # Those of the signalled address, and of strangers.
    waiting: list[int] = field(default_factory=lambda: [0, 0])
    told: bool = False


class _Step(NamedTuple):
    """A datagram of a handshake, which waits for its turn; an empty one begins it."""

    component: _Component
    row: int
    control: bool
    stranger: bool
    data: bytes
    source: Address


@dataclass(slots=True)
class _Secret:
    """What one stream needs to be secret."""

    transport_id: int
    links: tuple[_Link, _Link]
    security: Security
    # RTP and RTCP: each has keys of its own where it has a handshake of its own.
    senders: tuple[SRTPSender, SRTPSender] = field(default_factory=lambda: (SRTPSender(), SRTPSender()))
    receivers: tuple[SRTPReceiver, SRTPReceiver] = field(default_factory=lambda: (SRTPReceiver(), SRTPReceiver()))
    components: dict[bool, _Component] = field(default_factory=dict)
    suite: str | None = None


class Shield:
    """The secured streams, by row. `post` takes events."""

    def __init__(self, demux: Demultiplexer, post: Callable[[Secured | SecurityFailed], object]) -> None:
        self._demux: Final = demux
        self._post: Final = post
        self._secrets: Final[dict[int, _Secret]] = {}
        self._waiting: Final[deque[_Step]] = deque()
        self._next_wake = 0.0

    def __bool__(self) -> bool:
        """Whether any stream is secured."""
        return bool(self._secrets)

    def open(
        self,
        row: int,
        transport_id: int,
        sockets: Sockets,
        config: StreamConfig,
        now: float,
    ) -> Callable[[bytes], bytes] | None:
        """Secure the row as is configured from now on; returns what encrypts its RTP, None for a plain stream.

        Raises StreamError when a library is missing or a key is not one. The keys of before stay in use where they are
        the same, and those of a handshake until the next one is complete.
        """
        secret, security = self._secrets.get(row), config.security
        if security is None:
            self.close(row)
            return None
        links = _links(sockets, config)
        if secret is None:
            secret = _new_secret(transport_id, links, security, now)
            self._secrets[row] = secret
            self._watch(row, secret)
        else:
            secret.links = links
            for control, component in secret.components.items():
                component.association.signal(links[control].address)
            if secret.security == security:
                return secret.senders[0].protect
        self._apply(row, secret, security, now)
        return secret.senders[0].protect

    def _apply(self, row: int, secret: _Secret, security: Security, now: float) -> None:
        if isinstance(security, SRTPKeys):
            _use(secret, security, now)
            secret.components.clear()
        else:
            secret.components = {
                control: _Component(link.sock, Association(security, link.address, now))
                for control, link in zip((False, True), secret.links, strict=True)
            }
            self._next_wake = now
            for control, component in secret.components.items():
                # The first step of each waits its turn as all others do.
                self._enqueue(row, control, b"", component.association.signalled)
        secret.security = security

    def _enqueue(self, row: int, control: bool, data: bytes, source: Address) -> None:
        """Have a datagram of a handshake, or its beginning, dealt with when its turn comes."""
        secret = self._secrets.get(row)
        component = secret.components.get(control) if secret is not None else None
        if component is None:
            return
        stranger = source != component.association.signalled
        if component.waiting[stranger] < MAX_WAITING:
            component.waiting[stranger] += 1
            self._waiting.append(_Step(component, row, control, stranger, data, source))

    def _watch(self, row: int, secret: _Secret) -> None:
        rtp, rtcp = self._demux.post(2 * row), self._demux.post(2 * row + 1)

        def open(packet: bytes, control: bool, now: float) -> bytes | None:
            return secret.receivers[control].open(packet, control, now)

        rtp.open = rtcp.open = open
        rtp.dtls = lambda data, source, _: self._enqueue(row, False, data, source)
        rtcp.dtls = lambda data, source, _: self._enqueue(row, True, data, source)

    def close(self, row: int) -> None:
        """End what is known of the row; does nothing when it is plain."""
        secret = self._secrets.pop(row, None)
        if secret is None:
            return
        for key in (2 * row, 2 * row + 1):
            post = self._demux.post(key)
            post.open = post.dtls = None
            self._demux.review(key)
        for component in secret.components.values():
            _send(component, component.association.end())

    def protect_control(self, row: int, packet: bytes) -> bytes:
        """Encrypt a compound RTCP packet of the row, if it is secured; raises ProtectionFailed."""
        secret = self._secrets.get(row)
        return packet if secret is None else secret.senders[1].protect_control(packet)

    def work(self, now: float) -> None:
        """Take the next steps of the handshakes that are under way."""
        for _ in range(min(MAX_STEPS, len(self._waiting))):
            self._take(self._waiting.popleft(), now)
        if now >= self._next_wake:
            self._next_wake = now + MIN_WAKE
            for row, secret in list(self._secrets.items()):
                for control, component in list(secret.components.items()):
                    # A failure of one ends both.
                    if secret.components and not component.association.done:
                        _send(component, component.association.wake(now))
                        self._judge(row, control, secret, component, now)

    def _take(self, step: _Step, now: float) -> None:
        component, association = step.component, step.component.association
        component.waiting[step.stranger] -= 1
        secret = self._secrets.get(step.row)
        if secret is None or secret.components.get(step.control) is not component:
            return  # it is over
        _send(component, association.receive(step.data, step.source, now) if step.data else association.begin())
        self._judge(step.row, step.control, secret, component, now)

    def _judge(self, row: int, control: bool, secret: _Secret, component: _Component, now: float) -> None:
        """Take over the outcome of a handshake, once."""
        association = component.association
        if association.failure is not None:
            secret.components.clear()
            self._post(SecurityFailed(row, secret.transport_id, association.failure))
        elif association.keys is not None and not component.told:
            component.told = True
            keys = association.keys
            secret.senders[control].use(keys.suite, keys.send)
            secret.receivers[control].use(keys.suite, keys.receive, now)
            if not control:
                secret.suite = keys.suite
                self._post(Secured(row, secret.transport_id, keys.suite))

    def statistics(self, row: int) -> dict[str, Any] | None:
        """Return `suite`, and the packets that were refused as `unauthentic` or `replayed`; None for a plain row."""
        secret = self._secrets.get(row)
        if secret is None:
            return None
        return {
            "suite": secret.suite,
            "unauthentic": sum(receiver.unauthentic for receiver in secret.receivers),
            "replayed": sum(receiver.replayed for receiver in secret.receivers),
        }


def _links(sockets: Sockets, config: StreamConfig) -> tuple[_Link, _Link]:
    host, port = config.remote_address, config.remote_rtp_port
    rtcp_port = config.remote_rtcp_port or min(port + 1, 65535)
    rtcp_host = config.remote_rtcp_address or host
    return _Link(sockets[0], socket_address(host, port)), _Link(sockets[1], socket_address(rtcp_host, rtcp_port))


def _new_secret(transport_id: int, links: tuple[_Link, _Link], security: Security, now: float) -> _Secret:
    """Make the state of a stream; raises StreamError before anything has changed."""
    srtp.load()
    secret = _Secret(transport_id, links, security)
    if isinstance(security, SRTPKeys):
        _use(secret, security, now)
    else:
        dtls.load()
    return secret


def _use(secret: _Secret, keys: SRTPKeys, now: float) -> None:
    for sender in secret.senders:
        sender.use(keys.suite, keys.send)
    for receiver in secret.receivers:
        receiver.use(keys.suite, keys.receive, now)
    secret.suite = keys.suite


def _send(component: _Component, packets: Outgoing) -> None:
    for packet, address in packets:
        try:
            component.sock.sendto(packet, address)
        except OSError as error:  # as lost as any other datagram: it is sent again
            log.debug("a datagram of a handshake was not sent: %s", error)


def load_soon(*, handshakes: bool) -> None:
    """Load the libraries in a thread of its own, so that no tick waits for it when the first stream begins."""

    def load() -> None:
        try:
            srtp.load()
            if handshakes:
                dtls.load()
        except StreamError as error:
            log.warning("%s", error)

    if srtp.loaded() and (dtls.loaded() or not handshakes):
        return
    threading.Thread(target=load, name="media-loader", daemon=True).start()
