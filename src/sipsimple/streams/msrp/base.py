"""The common part of media streams over MSRP (RFC 4975): everything but what the messages mean.

A subclass sets `type`, `priority`, `media_type`, `accept_types`, `accept_wrapped_types` and `use_msrp_session`, and
defines `new_from_sdp`, in which `_read_offer` helps. What it may define besides, all of it called in the loop thread:

    async _prepare()                         before the description is made; an error of it fails the stream
    _sdp_attributes(for_offer)               more lines for our media section
    _negotiated(local_media, remote_media)   both sections are known; InvalidStreamError refuses
    _session_options()                       what the MSRP session takes: sizes, whole messages or parts, reports
    _ready()                                 messages can flow; MediaStreamDidStart follows at once
    _screen(chunk)                           200, or the status that refuses the chunk that begins (415, 413 ...)
    _handle_SEND(chunk)                      a message, or a part of one
    _handle_REPORT(chunk)                    a report came; `_message_delivered` or `_message_failed` follows
    _handle_<METHOD>(chunk)                  another request; wants `msrp_session.respond(chunk, code)`
    _message_sent(message)                   its last byte was written
    _message_accepted(message)               the next hop has it, or has not said otherwise in time
    _message_delivered(message, chunk, is_complete)
    _message_failed(message, code, reason, chunk)   the last word about a message, also when the session ends
    async _finish()                          the stream ends and is still connected; at most `FINISH_TIMEOUT` seconds
    _ended()                                 nothing happens any more; MediaStreamDidEnd follows at once
    _NH_<notification>(notification)         a notification that the stream itself has posted

Without `use_msrp_session` none of the `_handle_...` and `_message_...` is called, but `_handle_event(event)` for each
event of `sipsimple.msrp`.

Once `MediaStreamDidStart` was posted, `msrp_session` is there: `send`, `flush`, `abort`, `refuse`, `respond`,
`report`, `request`, `pause_reading`, `resume_reading` (see `MSRPSession`). `_spawn(coroutine)` runs what must not
outlive the stream, `_fail(context, error)` ends it, `_post(name, **data)` posts a notification of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, Final

from zope.interface import implementer

from sipsimple.core import SDPMediaStream
from sipsimple.loop import Failure, TaskOwner, run_in_loop
from sipsimple.msrp import (
    DataReceived,
    Disconnected,
    Event,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageSent,
    MSRPData,
    MSRPError,
    MSRPSession,
    OutgoingMessage,
    ReportReceived,
    RequestReceived,
    SessionClosed,
    SessionOptions,
)
from sipsimple.msrp.session import media_type_matches
from sipsimple.notification import IObserver, Notification, NotificationCenter, TimestampedNotificationData
from sipsimple.streams.applications.chat import ChatIdentity
from sipsimple.streams.interface import IMediaStream, InvalidStreamError, StreamError, UnknownStreamError
from sipsimple.streams.msrp.connecting import Way, transport_of
from sipsimple.streams.msrp.description import TRANSPORTS, InvalidDescription, MSRPDescription, local_media
from sipsimple.streams.msrp.transport import MSRPTransport, TransportTrace
from sipsimple.streams.registry import MediaStreamRegistrar

__all__ = ["FINISH_TIMEOUT", "MSRPStreamBase"]

FINISH_TIMEOUT: Final = 5.0
"""Seconds for what has still to be said when a stream ends: `_finish`, and what waits to be written."""
CPIM: Final = "message/cpim"
_HANDLER: Final = "_handle_"


@implementer(IMediaStream, IObserver)
class MSRPStreamBase(metaclass=MediaStreamRegistrar):
    """A stream of a session over MSRP; raises TypeError when it is made itself, not a subclass.

    `state` is one of NULL, INITIALIZING, INITIALIZED, STARTING, STARTED, FAILED, ENDED. `direction` is what we want:
    `sendrecv`, `sendonly` or `recvonly`. Streams over MSRP cannot be put on hold.
    """

    type: str
    priority: ClassVar[int | None] = None
    media_type: ClassVar[str | None] = None
    accept_types: list[str] | None = None
    accept_wrapped_types: list[str] | None = None
    use_msrp_session = False
    follows_setup: ClassVar[bool] = True
    """Whether `a=setup` says who connects (RFC 6135); False where the attribute means something else."""

    hold_supported = False
    on_hold = False
    on_hold_by_local = False
    on_hold_by_remote = False

    def __init__(self, account: Any, direction: str = "sendrecv") -> None:
        if type(self) is MSRPStreamBase:
            raise TypeError("MSRPStreamBase is a base class: make one of its subclasses")
        self.account = account
        self.direction = direction
        self.state = "NULL"
        self.session: Any = None
        self.index: int | None = None
        self.transport: str | None = None
        """`tls` or `tcp`, once initialised."""
        self.msrp: MSRPTransport | None = None
        """The connection, while there is one; the sender of `MSRPTransportTrace`."""
        self.msrp_session: MSRPSession | None = None
        self.shutting_down = False
        self.cpim_enabled = False
        """Whether both parties take `message/cpim`; known at the start."""
        self.local_identity = ChatIdentity(account.uri, getattr(account, "display_name", None))
        self.remote_identity: ChatIdentity | None = None
        self.remote_offer: MSRPDescription | None = None
        """What the remote has offered; `new_from_sdp` sets it."""
        self.remote_description: MSRPDescription | None = None
        """What was negotiated of the remote, from `start` on."""
        self._way: Way | None = None
        self._trace = TransportTrace()
        self._tasks = TaskOwner(type(self).__name__)
        self._endings = TaskOwner(f"{type(self).__name__} (ending)")
        self._early: list[Event] = []
        self._disconnected = asyncio.Event()
        self._is_ending = False
        self._time_left = FINISH_TIMEOUT

    # Offers

    @classmethod
    def _read_offer(cls, account: Any, remote_sdp: Any, stream_index: int) -> MSRPDescription:
        """Read an offered section, for `new_from_sdp`; keep the result in `remote_offer` of the new stream.

        Raises UnknownStreamError for media of another type, and InvalidStreamError for what we cannot connect to.
        """
        media = remote_sdp.media[stream_index]
        if media.media != cls.media_type:
            raise UnknownStreamError(f"{media.media} is not {cls.media_type}")
        wanted = TRANSPORTS[transport_of(account)]
        if media.transport.upper() != wanted:
            raise InvalidStreamError(f"MSRP over {media.transport} was offered, the settings want {wanted}")
        try:
            offer = MSRPDescription.read(remote_sdp, stream_index)
        except InvalidDescription as error:
            raise InvalidStreamError(str(error)) from error
        if offer.uses_tls != (wanted == TRANSPORTS["tls"]):
            raise InvalidStreamError(f"{media.transport} was offered, and a path that begins with {offer.path[0]}")
        return offer

    # What the session does with it

    def initialize(self, session: Any, direction: str) -> None:
        """Listen, or join the relay; raises RuntimeError when that was done before."""
        self._expect("initialize", "NULL")
        self.state = "INITIALIZING"
        self.session = session
        NotificationCenter().add_observer(self, sender=self)
        run_in_loop(self._spawn_now, self._initialize, direction)

    def _spawn_now(self, function: Any, *args: Any) -> None:
        self._tasks.spawn(function(*args))

    async def _initialize(self, direction: str) -> None:
        try:
            await self._prepare()
            self._way = way = Way(
                self.account,
                self._trace.hooks,
                is_offerer=direction == "outgoing",
                offer=self.remote_offer,
                follows_setup=self.follows_setup,
            )
            self.transport = way.transport
            await way.prepare()
        except (MSRPError, StreamError, OSError) as error:
            self._fail("initialize", error)
        except Exception as error:
            self._fail("initialize", error)
            raise
        else:
            if self.state == "INITIALIZING":
                self.state = "INITIALIZED"
                self._post("MediaStreamDidInitialize")

    def get_local_media(self, for_offer: bool) -> SDPMediaStream:
        """Our media; the same in each description, as the path of a running session stays."""
        if self._way is None or not self._way.path:
            raise RuntimeError(f"get_local_media() is for initialized streams, this one is {self.state}")
        assert self.media_type is not None, "subclasses set media_type"
        return local_media(
            self.media_type,
            self._way.path,
            direction=self.direction,
            accept_types=self.accept_types,
            accept_wrapped_types=self.accept_wrapped_types,
            setup=self._way.setup,
            fingerprints=self._way.fingerprints,
            more=self._sdp_attributes(for_offer),
        )

    def start(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        """Connect, or wait for the remote to do so; raises RuntimeError unless initialized."""
        self._expect("start", "INITIALIZED")
        self.state = "STARTING"
        identity = self.session.remote_identity
        if identity is not None:
            self.remote_identity = ChatIdentity(identity.uri, identity.display_name)
        try:
            remote = MSRPDescription.read(remote_sdp, stream_index)
            if remote.uses_tls != (self.transport == "tls"):
                raise InvalidStreamError(f"we use {self.transport}, and the path of the remote is {remote.path[0]}")
            self.remote_description = remote
            takes_cpim = media_type_matches(CPIM, self.accept_types or ())
            self.cpim_enabled = takes_cpim and media_type_matches(CPIM, remote.accept_types)
            self._negotiated(local_sdp.media[stream_index], remote_sdp.media[stream_index])
        except (InvalidDescription, StreamError) as error:
            self._fail("sdp_negotiation", error)
            return
        self._tasks.spawn(self._start(remote))

    async def _start(self, remote: MSRPDescription) -> None:
        assert self._way is not None  # made by initialize
        try:
            session = await self._way.complete(remote, self._got_event, self._session_options())
        except MSRPError as error:
            self._fail("start", error)
            return
        self.msrp_session = session
        if session.connection is not None:
            self.msrp = self._trace.transport(session.connection)
        try:
            if self.state == "STARTING":
                self.state = "STARTED"
                self._ready()
                self._post("MediaStreamDidStart")
        except Exception as error:
            self._fail("start", error)
            raise
        finally:
            early, self._early = self._early, []
            session.hand_out(early)

    def validate_update(self, remote_sdp: Any, stream_index: int) -> bool:
        """True unless the remote wants another session of MSRP: another path, or another transport."""
        media = remote_sdp.media[stream_index]
        known = self.remote_description
        if media.port == 0 or known is None:
            return True
        try:
            wanted = MSRPDescription.read(remote_sdp, stream_index)
        except InvalidDescription:
            return False
        return media.media == self.media_type and (wanted.transport, wanted.path) == (known.transport, known.path)

    def update(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        """Nothing that changes within a session concerns a running connection."""

    def hold(self) -> None:
        """Nothing: messages are not held."""

    def unhold(self) -> None:
        """Nothing: messages are not held."""

    def deactivate(self) -> None:
        """Expect the end: it is no failure when the remote closes the connection now."""
        self.shutting_down = True

    def end(self) -> None:
        """Write what waits and close; idempotent. `MediaStreamDidEnd` follows, within 10 s whatever the remote does."""
        if self._is_ending:
            return
        self._is_ending = True
        if self.state == "NULL":
            self.state = "ENDED"
            return
        run_in_loop(self._begin_end)

    def _begin_end(self) -> None:
        was_started = self.state == "STARTED"
        self.shutting_down = True
        self._post("MediaStreamWillEnd")
        if not was_started:
            self.state = "ENDED"
            self._tasks.cancel()
        self._endings.spawn(self._end(was_started))

    async def _end(self, was_started: bool) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FINISH_TIMEOUT
        try:
            if was_started:
                async with asyncio.timeout_at(deadline):
                    await self._finish()
        except TimeoutError:
            pass  # the stream has had its time
        finally:
            self.state = "ENDED"
            try:
                self._time_left = max(0.0, deadline - loop.time())
                await self._close()
            finally:
                self._abort()
                self._ended()
                self._post("MediaStreamDidEnd")
                self.session = None
                NotificationCenter().discard_observer(self, sender=self)

    async def _close(self) -> None:
        await self._tasks.close()
        if self.msrp_session is not None:
            await self.msrp_session.close(self._time_left)
            # What became of the last messages is told before the end.
            await self._disconnected.wait()
        if self._way is not None:
            await self._way.close()

    def _abort(self) -> None:
        """Let go of a connection that could not be closed in time, as when the loop ends."""
        connection = self.msrp_session.connection if self.msrp_session is not None else None
        if connection is not None:
            connection.abort(SessionClosed("the stream has ended"))
        self.msrp = None

    # What happens

    def handle_notification(self, notification: Notification) -> None:
        """Hand a notification of our own to the method that a subclass has for it."""
        handler = getattr(self, f"_NH_{notification.name}", None)
        if handler is not None:
            handler(notification)

    def _got_event(self, event: Event) -> None:
        if self.msrp_session is None:
            # The other end was quicker than the task that waits for the session.
            self._early.append(event)
        elif isinstance(event, Disconnected):
            try:
                self._handle_event(event)
            finally:
                # Whatever the subclass does: the end of the stream waits for this.
                self._lost(event.error)
        elif self.use_msrp_session:
            self._dispatch(event)
        else:
            self._handle_event(event)

    def _dispatch(self, event: Event) -> None:
        match event:
            case DataReceived(chunk):
                self._handle_SEND(chunk)
            case ReportReceived(chunk):
                self._handle_REPORT(chunk)
            case RequestReceived(chunk):
                getattr(self, f"{_HANDLER}{chunk.method}")(chunk)
            case MessageSent(message):
                self._message_sent(message)
            case MessageAccepted(message):
                self._message_accepted(message)
            case MessageDelivered(message, chunk, is_complete):
                self._message_delivered(message, chunk, is_complete)
            case MessageFailed(message, code, reason, failed):
                self._message_failed(message, code, reason, failed)

    def _lost(self, error: Exception | None) -> None:
        self._disconnected.set()
        self.msrp = None
        if self.state == "STARTED" and not (self.shutting_down and error is None):
            self._fail("reading", error or SessionClosed("the remote has closed the connection"))

    # For subclasses

    async def _prepare(self) -> None:
        """Do what has to be done before the description is made."""

    def _sdp_attributes(self, for_offer: bool) -> list[Any]:
        """More attributes for our media section."""
        return []

    def _negotiated(self, local_media: Any, remote_media: Any) -> None:
        """Take note of what was negotiated; raises InvalidStreamError when it cannot be used."""

    def _session_options(self) -> SessionOptions:
        """What the MSRP session takes."""
        methods = {name.removeprefix(_HANDLER) for name in dir(self) if name.startswith(_HANDLER)}
        return SessionOptions(
            accept_types=self.accept_types or (),
            screen=self._screen,
            methods={name for name in methods if name.isupper()} - {"SEND", "REPORT"},
        )

    def _ready(self) -> None:
        """Begin; `MediaStreamDidStart` was not posted yet, so that nobody else has sent anything."""

    def _ended(self) -> None:
        """Settle what is still open; the connection is gone, `MediaStreamDidEnd` was not posted yet."""

    def _screen(self, chunk: MSRPData) -> int:
        """The status of the answer to a chunk of which the first part has come; anything but 200 refuses it."""
        return 200

    def _handle_event(self, event: Event) -> None:
        """Take an event of the session, without `use_msrp_session`; with it only Disconnected."""

    def _handle_SEND(self, chunk: MSRPData) -> None:
        """Take a message, or a part of one."""

    def _handle_REPORT(self, chunk: MSRPData) -> None:
        """Take note that a report came."""

    def _message_sent(self, message: OutgoingMessage) -> None:
        """The last byte of a message was written."""

    def _message_accepted(self, message: OutgoingMessage) -> None:
        """The next hop has a message."""

    def _message_delivered(self, message: OutgoingMessage, chunk: MSRPData, is_complete: bool) -> None:
        """The remote has a message, or the part of it that the report in `chunk` is about."""

    def _message_failed(self, message: OutgoingMessage, code: int, reason: str, chunk: MSRPData | None) -> None:
        """A message did not arrive; `chunk` says so, None when nobody did."""

    async def _finish(self) -> None:
        """Do what has to be done while the stream is still connected."""

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task that ends with the stream; in the loop thread."""
        return self._tasks.spawn(coroutine)

    def _post(self, name: str, **data: Any) -> None:
        """Post a notification of this stream; in the loop thread."""
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(**data))

    def _fail(self, context: str, error: Exception) -> None:
        """Tell that the stream has failed, once; the session ends it then. Nothing when it is ending already."""
        if self._is_ending or self.state in ("FAILED", "ENDED"):
            return
        self.state = "FAILED"
        self._post("MediaStreamDidFail", context=context, failure=Failure(error), reason=str(error))

    def _expect(self, method: str, state: str) -> None:
        if self.state != state:
            raise RuntimeError(f"{method}() is for streams in state {state}, this one is {self.state}")
