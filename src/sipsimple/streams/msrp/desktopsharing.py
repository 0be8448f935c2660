"""A desktop, shared by a VNC server and seen in a VNC viewer, over MSRP: RFB data (RFC 6143) as `application/x-rfb`.

There is no standard for it; this is how SIP clients do it. `a=setup` says who is the viewer (`active`) and who the
server (`passive`), not who connects. What the two say to each other is a stream of bytes: it goes in messages of their
own order, without reports, for the connection is reliable and nobody could make use of a message that is repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from sipsimple.core import SDPAttribute
from sipsimple.loop import run_in_loop
from sipsimple.msrp import MSRPData, OutgoingMessage, SessionClosed
from sipsimple.msrp.message import ABORTED
from sipsimple.msrp.sender import PIECE_SIZE
from sipsimple.msrp.session import media_type_matches
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.streams.interface import InvalidStreamError
from sipsimple.streams.msrp.base import MSRPStreamBase
from sipsimple.streams.msrp.connecting import MSRPStreamError
from sipsimple.streams.msrp.dataqueue import DataQueue, QueueShutDown
from sipsimple.streams.msrp.vnc_handlers import InternalVNCServerHandler, InternalVNCViewerHandler

__all__ = ["RFB", "DesktopSharingStream"]

RFB: Final = "application/x-rfb"
MAX_UNSENT: Final = 4 * PIECE_SIZE
"""Bytes that are handed to the MSRP session ahead of what it has written."""
_COUNTERPARTS: Final = {"active": "passive", "passive": "active"}


class DesktopSharingStream(MSRPStreamBase):
    """The desktop of one party in a viewer of the other.

    `handler` (an IDesktopSharingHandler) is the VNC viewer or server at our end. A stream that the remote has proposed
    comes with an internal handler of the type that is needed; the application may replace it by one of the same type
    until the stream starts. A failure of the handler fails the stream.

    `incoming_queue` holds what has come from the remote, and when it is full nothing is read from the connection;
    `outgoing_queue` takes what is to be sent, and fills when the remote does not keep up.
    """

    type = "desktop-sharing"
    priority = 1
    media_type = "application"
    accept_types = [RFB]
    accept_wrapped_types = None
    use_msrp_session = True
    follows_setup = False
    offered_by_default = False  # nobody but the application knows the handler

    def __init__(self, account: Any, handler: Any) -> None:
        """Raises TypeError when the handler is neither a viewer nor a server."""
        super().__init__(account)
        self.incoming_queue = DataQueue(on_room=self._want_more)
        self.outgoing_queue = DataQueue()
        self._unsent = 0
        self._progress = asyncio.Event()
        self._handler: Any = None
        self._has_begun = False
        self.handler = handler

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> DesktopSharingStream | None:
        """The stream for an offer to show, or to see, a desktop; None for other media.

        Raises InvalidStreamError when we cannot connect to what is offered.
        """
        media = remote_sdp.media[stream_index]
        accepted = (media.attributes.getfirst("accept-types") or "").split()
        if media.media != cls.media_type or not media_type_matches(RFB, accepted):
            return None
        offer = cls._read_offer(account, remote_sdp, stream_index)
        stream = cls(account, cls._handler_towards(media.attributes.getfirst("setup")))
        stream.remote_offer = offer
        return stream

    @staticmethod
    def _handler_towards(setup: str | None) -> InternalVNCServerHandler | InternalVNCViewerHandler:
        match (setup or "active").strip().lower():
            case "active":
                return InternalVNCServerHandler()
            case "passive":
                return InternalVNCViewerHandler()
        raise InvalidStreamError(f"a=setup of a shared desktop is active or passive, not {setup}")

    @property
    def handler(self) -> Any:
        """The VNC viewer or server at our end.

        Setting it raises TypeError for None or a handler of another type than the one that is replaced, and
        RuntimeError when the stream has started.
        """
        return self._handler

    @handler.setter
    def handler(self, handler: Any) -> None:
        if handler is None:
            raise TypeError("a desktop sharing stream needs a handler")
        kind = getattr(handler, "type", None)
        if kind not in _COUNTERPARTS:
            raise TypeError(f"the type of a handler is 'active' or 'passive', not {kind!r}")
        if self._handler is not None and kind != self._handler.type:
            raise TypeError(f"the handler of this stream is {self._handler.type}, and can be replaced by none but such")
        if self._has_begun:
            raise RuntimeError("the stream has started with its handler")
        self._handler = handler

    def end(self) -> None:
        """End; what was not sent yet is dropped."""
        if self.state == "NULL":
            self._close_handler()
        super().end()

    # Descriptions

    def _sdp_attributes(self, for_offer: bool) -> list[Any]:
        return [SDPAttribute("setup", self._handler.type)]

    def _negotiated(self, local_media: Any, remote_media: Any) -> None:
        wanted = _COUNTERPARTS[self._handler.type]
        setup = (remote_media.attributes.getfirst("setup") or wanted).strip().lower()
        if setup != wanted:
            raise InvalidStreamError(f"the remote has answered a=setup:{setup}, and {wanted} is wanted")
        accepted = (remote_media.attributes.getfirst("accept-types") or RFB).split()
        if not media_type_matches(RFB, accepted):
            raise InvalidStreamError(f"the remote does not take {RFB}")

    # The handler

    def _ready(self) -> None:
        self._has_begun = True
        NotificationCenter().add_observer(self, sender=self._handler)
        try:
            self._handler.initialize(self)
        except Exception as error:
            # The handler may be the application's, so its mistake ends this stream alone, and is told as such.
            self._fail("start", error)
            raise
        self._spawn(self._send())

    def _NH_DesktopSharingHandlerDidFail(self, notification: Notification) -> None:
        data = notification.data
        run_in_loop(self._handler_failed, data.context, data.failure, data.reason)

    def _handler_failed(self, context: str, failure: Any, reason: str) -> None:
        if self._is_ending or self.state in ("FAILED", "ENDED"):
            return
        self.state = "FAILED"
        self._post("MediaStreamDidFail", context=context, failure=failure, reason=reason)

    def _NH_MediaStreamWillEnd(self, notification: Notification) -> None:
        self.incoming_queue.shutdown()
        self.outgoing_queue.shutdown()
        if not self._has_begun:
            self._close_handler()

    def _ended(self) -> None:
        NotificationCenter().discard_observer(self, sender=self._handler)

    def _close_handler(self) -> None:
        close = getattr(self._handler, "close", None)
        if close is not None:
            close()

    # Data

    def _handle_SEND(self, chunk: MSRPData) -> None:
        if chunk.continuation == ABORTED:
            self._fail("reading", MSRPStreamError("the remote has broken off in the middle of its RFB data"))
            return
        with contextlib.suppress(QueueShutDown):
            self.incoming_queue.send(chunk.data)
        if self.incoming_queue.full() and self.msrp_session is not None:
            self.msrp_session.pause_reading()

    def _want_more(self) -> None:
        """The incoming queue has room again; in the thread of whoever has made it."""
        with contextlib.suppress(RuntimeError):  # the middleware has ended, and the handler was not done yet
            run_in_loop(self._resume)

    def _resume(self) -> None:
        if self.msrp_session is not None and not self.incoming_queue.full():
            self.msrp_session.resume_reading()

    async def _send(self) -> None:
        with contextlib.suppress(QueueShutDown, SessionClosed):
            while True:
                data = await self._next_data()
                # No message is longer than a piece: one that is interrupted would be overtaken by the next.
                for start in range(0, len(data), PIECE_SIZE):
                    await self._send_piece(data[start : start + PIECE_SIZE])

    async def _next_data(self) -> bytes:
        """What waits in the outgoing queue, as far as it makes a piece."""
        parts = [await self.outgoing_queue.get()]
        size = len(parts[0])
        with contextlib.suppress(asyncio.QueueEmpty, QueueShutDown):
            while size < PIECE_SIZE:
                parts.append(self.outgoing_queue.get_nowait())
                size += len(parts[-1])
        return b"".join(parts)

    async def _send_piece(self, piece: bytes) -> None:
        while self._unsent >= MAX_UNSENT:
            self._progress.clear()
            await self._progress.wait()
        assert self.msrp_session is not None  # the stream has started
        self.msrp_session.send(piece, RFB, failure_report="no")
        self._unsent += len(piece)

    def _message_sent(self, message: OutgoingMessage) -> None:
        self._settle(message)

    def _message_failed(self, message: OutgoingMessage, code: int, reason: str, chunk: MSRPData | None) -> None:
        # Nobody answers what wants no answer; should somebody do so, other data must not wait for this message.
        if not message.is_sent:
            self._settle(message)

    def _settle(self, message: OutgoingMessage) -> None:
        self._unsent -= message.size or 0
        self._progress.set()
