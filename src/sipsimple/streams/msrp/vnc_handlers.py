"""What is at the ends of a desktop sharing stream: a VNC viewer or server, within the application or without.

A handler takes RFB data (RFC 6143) from the stream's `incoming_queue` and puts what it has into `outgoing_queue`; it
does not look into the data. The external handlers are TCP peers of a VNC program: one listens for a viewer, the other
connects to a server. They read no faster than the stream takes, and take no faster than the program reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import Any, ClassVar, Final

from zope.interface import Attribute, Interface, implementer

from sipsimple.loop import Failure, Result, TaskOwner
from sipsimple.notification import IObserver, Notification, NotificationCenter, TimestampedNotificationData
from sipsimple.streams.msrp.dataqueue import DataQueue, QueueShutDown

__all__ = [
    "DesktopSharingHandlerBase",
    "ExternalVNCServerHandler",
    "ExternalVNCViewerHandler",
    "IDesktopSharingHandler",
    "InternalVNCServerHandler",
    "InternalVNCViewerHandler",
]

READ_SIZE: Final = 64 * 1024
CONNECT_TIMEOUT: Final = 3.0


class IDesktopSharingHandler(Interface):  # type: ignore[misc]  # zope.interface ships no types
    """Consumes and produces the RFB data of one DesktopSharingStream.

    It posts `DesktopSharingHandlerDidFail` with `context` (`connecting`, `reading` or `sending`), `failure` and
    `reason` when it cannot go on; the stream fails then. If it has a method `close`, the stream calls that when it ends
    without having started.
    """

    type = Attribute("'active' for a VNC viewer, 'passive' for a VNC server")

    def initialize(stream):  # type: ignore[no-untyped-def]
        """RFB data can be transported: by `stream.incoming_queue` and `stream.outgoing_queue`. In the loop thread."""


@implementer(IDesktopSharingHandler, IObserver)
class DesktopSharingHandlerBase:
    """Runs `_run` from the start of the stream to its end; raises TypeError when it is made itself, not a subclass."""

    type: ClassVar[str]

    def __init__(self) -> None:
        if type(self) is DesktopSharingHandlerBase:
            raise TypeError("DesktopSharingHandlerBase is a base class: make one of its subclasses")
        self.stream: Any = None
        self.incoming_queue: DataQueue | None = None
        self.outgoing_queue: DataQueue | None = None
        self._tasks = TaskOwner(type(self).__name__)
        self._has_failed = False

    def initialize(self, stream: Any) -> None:
        """Take the queues of the stream; raises RuntimeError when the handler has a stream already."""
        if self.stream is not None:
            raise RuntimeError("a handler is for one stream: make another one")
        self.stream = stream
        self.incoming_queue = stream.incoming_queue
        self.outgoing_queue = stream.outgoing_queue
        NotificationCenter().add_observer(self, sender=stream)

    def handle_notification(self, notification: Notification) -> None:
        """Hand what the stream posts to the method for it."""
        handler = getattr(self, f"_NH_{notification.name}", None)
        if handler is not None:
            handler(notification)

    def _NH_MediaStreamDidStart(self, notification: Notification) -> None:
        self._tasks.spawn(self._run())

    def _NH_MediaStreamWillEnd(self, notification: Notification) -> None:
        self._tasks.cancel()
        # Afterwards: the loop must have let go of a socket before that is closed.
        asyncio.get_running_loop().call_soon(self.close)

    def _NH_MediaStreamDidEnd(self, notification: Notification) -> None:
        NotificationCenter().discard_observer(self, sender=self.stream)

    def close(self) -> None:
        """Let go of sockets that no stream will use."""

    async def _run(self) -> None:
        """Move the data until the stream ends, which cancels this."""
        raise NotImplementedError

    def _fail(self, context: str, error: Exception, reason: str | None = None) -> None:
        """Tell that it cannot go on, once."""
        if self._has_failed:
            return
        self._has_failed = True
        data = TimestampedNotificationData(context=context, failure=Failure(error), reason=reason or str(error))
        NotificationCenter().post_notification("DesktopSharingHandlerDidFail", self, data)


class _InternalHandler(DesktopSharingHandlerBase):
    """A viewer or a server that is part of the application."""

    def send(self, data: bytes) -> Result[None]:
        """Send RFB data to the remote; may be called from any thread, from `initialize` on.

        What it returns is done when the remote keeps up: await it before sending more. Raises RuntimeError before
        the stream starts, QueueShutDown after its end, and asyncio.QueueFull when far too much waits.
        """
        if self.outgoing_queue is None:
            raise RuntimeError("send() is for handlers whose stream has started")
        return self.outgoing_queue.send(data)

    async def _run(self) -> None:
        assert self.incoming_queue is not None
        with contextlib.suppress(QueueShutDown):
            while True:
                data = TimestampedNotificationData(data=await self.incoming_queue.get())
                NotificationCenter().post_notification("DesktopSharingStreamGotData", self, data)


class InternalVNCViewerHandler(_InternalHandler):
    """A VNC viewer within the application: it gets `DesktopSharingStreamGotData` (`data`) and answers by `send`."""

    type = "active"


class InternalVNCServerHandler(_InternalHandler):
    """A VNC server within the application: it gets `DesktopSharingStreamGotData` (`data`) and answers by `send`."""

    type = "passive"


class _ExternalHandler(DesktopSharingHandlerBase):
    """A VNC program at the other end of a TCP connection."""

    program: ClassVar[str]

    def __init__(self, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        super().__init__()
        self.connect_timeout = connect_timeout

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection; raises OSError. May take for ever."""
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self.connect_timeout):
                reader, writer = await self._connect()
        except TimeoutError as error:
            reason = f"{self._attempt} in {self.connect_timeout:g} s"
            self._fail("connecting", error, reason)
            return
        except OSError as error:
            self._fail("connecting", error, f"{self._attempt}: {error.strerror or error}")
            return
        finally:
            self.close()
        ways = TaskOwner(type(self).__name__)
        try:
            await asyncio.wait(
                [ways.spawn(self._read(reader)), ways.spawn(self._write(writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            # What a program that has stopped reading was not given yet must not hold the socket open.
            writer.transport.abort()
            ways.cancel()

    @property
    def _attempt(self) -> str:
        """What was tried when no connection came about, in words that go before the time or the reason."""
        raise NotImplementedError

    async def _read(self, reader: asyncio.StreamReader) -> None:
        assert self.outgoing_queue is not None
        try:
            while data := await reader.read(READ_SIZE):
                await self.outgoing_queue.put(data)
        except OSError as error:
            self._fail("reading", error, f"the connection with the {self.program} was lost: {error.strerror or error}")
        except QueueShutDown:
            return
        else:
            self._fail("reading", ConnectionResetError(f"the {self.program} has closed its connection"))

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        assert self.incoming_queue is not None
        try:
            while True:
                writer.write(await self.incoming_queue.get())
                await writer.drain()
        except OSError as error:
            self._fail("sending", error, f"the {self.program} takes no data: {error.strerror or error}")
        except QueueShutDown:
            return


class ExternalVNCViewerHandler(_ExternalHandler):
    """Listens for a VNC viewer, which has to connect within `connect_timeout` seconds of the start of the stream.

    It listens when it is made; `address` is where: an IP address and a port. One connection is accepted. Raises OSError
    when it cannot listen there. A handler that no stream has started with is to be closed by `close`.
    """

    type = "active"
    program = "VNC viewer"

    def __init__(self, address: tuple[str, int] = ("localhost", 0), connect_timeout: float = CONNECT_TIMEOUT) -> None:
        super().__init__(connect_timeout)
        self._listener = _listen(address)
        self._forget = weakref.finalize(self, self._listener.close)
        name = self._listener.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])

    def close(self) -> None:
        """Stop listening; idempotent."""
        self._forget()

    @property
    def _attempt(self) -> str:
        return f"no VNC viewer has connected to {self.address[0]} port {self.address[1]}"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        accepted, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        self.close()
        return await asyncio.open_connection(sock=accepted)


class ExternalVNCServerHandler(_ExternalHandler):
    """Connects to the VNC server at `address`, a host and a port, when the stream starts.

    Without a connection after `connect_timeout` seconds it fails.
    """

    type = "passive"
    program = "VNC server"

    def __init__(self, address: tuple[str, int], connect_timeout: float = CONNECT_TIMEOUT) -> None:
        super().__init__(connect_timeout)
        self.address = address

    @property
    def _attempt(self) -> str:
        return f"there is no connection to the VNC server at {self.address[0]} port {self.address[1]}"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.address
        return await asyncio.open_connection(host, port)


def _listen(address: tuple[str, int]) -> socket.socket:
    """A socket that listens at the first address that the host stands for; IPv4 goes first, as most viewers expect."""
    host, port = address
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    problem = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in sorted(found, key=lambda entry: entry[0] != socket.AF_INET):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setblocking(False)
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(1)
        except OSError as error:
            listener.close()
            problem = error
        else:
            return listener
    raise problem
