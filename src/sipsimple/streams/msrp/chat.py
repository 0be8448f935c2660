"""Session-based instant messages (RFC 4975), in CPIM where the remote takes it (RFC 3862), with composing indications
(RFC 3994), and private messages and nicknames where the remote is a conference that knows them (RFC 7701).

Every message ends in exactly one of `ChatStreamDidDeliverMessage` and `ChatStreamDidNotDeliverMessage`, also when the
connection is lost or the stream ends before. Messages given before the start wait for it. A public method judges what
it is asked in the caller's thread; the work follows in the loop.

Delivered is what the remote has reported (RFC 4975 7.1.2). That the next hop has taken a message says nothing about the
remote, so a message whose report is lost on its way ends as not delivered, although it may have been read. Some relays
(RFC 4976) pass reports on to their own clients alone, not to the other party of a client, which came without asking for
a URI: what such a party sends is read at once, and told as not delivered when the stream ends.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sipsimple.loop import run_in_loop
from sipsimple.msrp import ByteRange, MSRPData, OutgoingMessage, SessionClosed, SessionOptions
from sipsimple.msrp.session import media_type_matches
from sipsimple.payloads import iscomposing
from sipsimple.payloads.iscomposing import IsComposing
from sipsimple.payloads.xmldoc import MalformedDocument
from sipsimple.streams.applications.chat import (
    ChatIdentity,
    ChatMessage,
    CPIMHeader,
    CPIMIdentity,
    CPIMMessage,
    CPIMParserError,
    decode_body,
)
from sipsimple.streams.interface import InvalidStreamError, UnknownStreamError
from sipsimple.streams.msrp.base import CPIM
from sipsimple.streams.msrp.chatroom import ChatroomStream, ChatStreamError

__all__ = ["MAX_CHAT_MESSAGE", "ChatStream", "ChatStreamError"]

MAX_CHAT_MESSAGE: Final = 10 * 1024 * 1024
"""Bytes of an incoming message with its envelope; a larger one is answered with 413."""
SHORT_MESSAGE: Final = 2048
"""Bytes up to which a message goes in one chunk whatever waits (RFC 4975 7.1.1); a longer one is let go alone, so that
no other message overtakes it."""

_BAD_REQUEST: Final = 400
_TIMEOUT: Final = 408
_UNSUPPORTED: Final = 415
_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+(?: *;[^\x00-\x1f\x7f]*)?")
_PAIRS: Final = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly"}


@dataclass(slots=True)
class _Letter:
    """A message of ours, from `send_message` until its end is known."""

    message_id: str
    content: str | bytes
    content_type: str
    recipients: Sequence[ChatIdentity] | None = None
    courtesy_recipients: Sequence[ChatIdentity] | None = None
    subject: str | None = None
    timestamp: datetime | None = None
    required: Sequence[str] | None = None
    additional_headers: Sequence[CPIMHeader] | None = None
    is_indication: bool = False
    """Whether it is about a message only; nobody asks what becomes of those."""
    wire: bytes = b""

    @property
    def data(self) -> bytes:
        """The content as octets."""
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def has_envelope(self) -> bool:
        """Whether it says what only CPIM can."""
        return any((self.courtesy_recipients, self.subject, self.timestamp, self.required, self.additional_headers))


class ChatStream(ChatroomStream):
    """A chat; `direction` is `sendrecv`, `sendonly` or `recvonly`."""

    type = "chat"
    priority = 1
    media_type = "message"
    accept_types = [CPIM, "text/*", iscomposing.CONTENT_TYPE]
    accept_wrapped_types = ["*"]
    use_msrp_session = True

    def __init__(self, account: Any, direction: str = "sendrecv") -> None:
        super().__init__(account, direction)
        self._waiting: deque[_Letter] = deque()
        self._outbox: deque[_Letter] = deque()
        self._long_message: str | None = None
        self._outbox_is_empty = asyncio.Event()
        self._unreported: dict[str, _Letter] = {}
        self._is_flowing = False

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> ChatStream:
        """A stream for a chat that is offered; raises UnknownStreamError and InvalidStreamError for what is none."""
        media = remote_sdp.media[stream_index]
        if media.media == cls.media_type and "file-selector" in media.attributes:
            raise UnknownStreamError("this is a file, not a chat")
        offer = cls._read_offer(account, remote_sdp, stream_index)
        stream = cls(account)
        if _PAIRS.get(offer.direction) != stream.direction:
            raise InvalidStreamError(f"a chat that is {offer.direction} was offered, and we want {stream.direction}")
        stream.remote_offer = offer
        return stream

    # Sending

    def send_message(
        self,
        content: str | bytes,
        content_type: str = "text/plain",
        recipients: Iterable[ChatIdentity] | None = None,
        courtesy_recipients: Iterable[ChatIdentity] | None = None,
        subject: str | None = None,
        timestamp: datetime | None = None,
        required: Iterable[str] | None = None,
        additional_headers: Iterable[CPIMHeader] | None = None,
    ) -> str:
        """Send a message and return its id, which the notifications about it repeat.

        Before the start it is queued; then what the remote does not take is told by `ChatStreamDidNotDeliverMessage`.
        Raises ChatStreamError when it cannot be sent: the stream only receives or has ended, the remote does not take
        the type, the size or the recipients.
        """
        letter = _Letter(
            secrets.token_hex(8),
            content,
            content_type,
            _listed(recipients),
            _listed(courtesy_recipients),
            subject,
            timestamp,
            _listed(required),
            _listed(additional_headers),
        )
        return self._post_letter(letter)

    def send_composing_indication(
        self,
        state: str,
        refresh: int | None,
        last_active: datetime | None = None,
        recipients: Iterable[ChatIdentity] | None = None,
    ) -> str:
        """Tell that the user is writing (`active`) or not (`idle`); it returns the id of the message.

        `refresh` is in seconds: how soon an active state is told again; `last_active` is now by default. Nothing is
        sent to a remote that does not take indications. Raises ValueError for other states and for a `refresh` that is
        not above 0, ChatStreamError as `send_message` does.
        """
        document = IsComposing(state, refresh, last_active or _now(), "text")
        letter = _Letter(
            secrets.token_hex(8),
            document.encode(),
            iscomposing.CONTENT_TYPE,
            _listed(recipients),
            is_indication=True,
        )
        return self._post_letter(letter)

    def _post_letter(self, letter: _Letter) -> str:
        if _CONTENT_TYPE.fullmatch(letter.content_type) is None:
            raise ChatStreamError(f"{letter.content_type[:80]!r} is no type of content")
        if self.direction == "recvonly":
            raise ChatStreamError("this stream only receives")
        if self._is_ending or self.state in ("FAILED", "ENDED"):
            raise ChatStreamError("this stream has ended")
        if self.state == "STARTED":
            self._check(letter)
        if self.state == "NULL" and self.session is None:
            # Nothing may run the middleware yet.
            self._waiting.append(letter)
        else:
            run_in_loop(self._submit, letter)
        return letter.message_id

    def _submit(self, letter: _Letter) -> None:
        if not self._is_flowing and not self._is_ending and self.state not in ("FAILED", "ENDED"):
            self._waiting.append(letter)
            return
        try:
            if not letter.wire:
                self._check(letter)
        except ChatStreamError as error:
            self._not_delivered(letter, _UNSUPPORTED, str(error), None)
            return
        if not letter.is_indication or self._is_taken(letter.content_type):
            self._outbox.append(letter)
            self._empty_outbox()

    def _empty_outbox(self) -> None:
        """Hand messages to the session; behind a long one they wait until it has gone."""
        while self._outbox and self._long_message is None:
            letter = self._outbox.popleft()
            try:
                self._send(letter)
            except SessionClosed as error:
                self._not_delivered(letter, _TIMEOUT, str(error), None)
        if self._outbox:
            self._outbox_is_empty.clear()
        else:
            self._outbox_is_empty.set()

    def _message_left(self, message: OutgoingMessage) -> None:
        if message.message_id == self._long_message:
            self._long_message = None
            self._empty_outbox()

    def _send(self, letter: _Letter) -> None:
        if self.msrp_session is None or self.state != "STARTED":
            raise SessionClosed("the stream has ended")
        is_report_wanted = not letter.is_indication
        if is_report_wanted:
            self._unreported[letter.message_id] = letter
        self.msrp_session.send(
            letter.wire,
            CPIM if self.cpim_enabled else letter.content_type,
            message_id=letter.message_id,
            success_report=is_report_wanted,
            failure_report="partial",
            headers=None if is_report_wanted else {"Success-Report": "no"},
        )
        if len(letter.wire) > SHORT_MESSAGE:
            self._long_message = letter.message_id

    def _check(self, letter: _Letter) -> None:
        """Write the message as the remote takes it; raises ChatStreamError when it does not."""
        if not letter.is_indication and not self._is_taken(letter.content_type):
            raise ChatStreamError(f"the remote does not take {letter.content_type}")
        recipients = [*(letter.recipients or ()), *(letter.courtesy_recipients or ())]
        is_private = any(not self._is_remote(recipient) for recipient in recipients)
        if is_private and not self.private_messages_allowed:
            raise ChatStreamError("the remote does not pass on private messages, so there are no other recipients")
        if letter.has_envelope and not self.cpim_enabled:
            raise ChatStreamError("the remote does not take CPIM, so the message has to go without more headers")
        try:
            letter.wire = self._envelope(letter) if self.cpim_enabled else letter.data
        except ValueError as error:
            raise ChatStreamError(f"the message cannot be written: {error}") from error
        remote = self.remote_description
        if remote is None:
            return
        if remote.direction in ("sendonly", "inactive"):
            raise ChatStreamError("the remote does not want messages")
        if remote.max_size is not None and len(letter.wire) > remote.max_size:
            raise ChatStreamError(f"{len(letter.wire)} bytes are more than the {remote.max_size} that the remote takes")

    def _envelope(self, letter: _Letter) -> bytes:
        everybody = [self.remote_identity] if self.remote_identity is not None else []
        message = CPIMMessage(
            letter.content,
            letter.content_type,
            sender=self.local_identity,
            recipients=letter.recipients or everybody,
            courtesy_recipients=letter.courtesy_recipients,
            subject=letter.subject,
            timestamp=letter.timestamp or _now(),
            required=letter.required,
            additional_headers=letter.additional_headers,
        )
        return message.encode()

    def _is_taken(self, content_type: str) -> bool:
        """Whether the remote takes this type; who does not say what it takes is believed to take everything."""
        remote = self.remote_description
        if remote is None or not remote.accept_types:
            return True
        # RFC 4975 8.6: what is taken alone is taken in an envelope, too.
        wrapped = remote.accept_wrapped_types if self.cpim_enabled else ()
        return media_type_matches(content_type, (*remote.accept_types, *wrapped))

    def _is_remote(self, recipient: ChatIdentity) -> bool:
        remote = self.remote_identity
        return remote is not None and _party(recipient) == _party(remote)

    # What becomes of messages

    def _ready(self) -> None:
        self._is_flowing = True
        while self._waiting:
            self._submit(self._waiting.popleft())

    def _message_sent(self, message: OutgoingMessage) -> None:
        letter = self._unreported.get(message.message_id)
        if letter is not None:
            wire, letter.wire = letter.wire, b""
            letter.content = b""
            self._post("ChatStreamDidSendMessage", message=message.chunk(wire))
        self._message_left(message)

    def _message_delivered(self, message: OutgoingMessage, chunk: MSRPData, is_complete: bool) -> None:
        if is_complete and self._unreported.pop(message.message_id, None) is not None:
            status = chunk.status
            reason = status.comment if status is not None else ""
            self._post(
                "ChatStreamDidDeliverMessage",
                message_id=message.message_id,
                code=200,
                reason=reason or "OK",
                chunk=chunk,
            )

    def _message_failed(self, message: OutgoingMessage, code: int, reason: str, chunk: MSRPData | None) -> None:
        letter = self._unreported.get(message.message_id)
        if letter is not None:
            self._not_delivered(letter, code, reason, chunk)
        self._message_left(message)

    def _not_delivered(self, letter: _Letter, code: int, reason: str, chunk: MSRPData | None) -> None:
        self._unreported.pop(letter.message_id, None)
        if letter.is_indication:
            return
        if chunk is None:
            # Nobody has said so but us; applications look into the chunk all the same.
            chunk = MSRPData("", code=code, comment=reason, headers={"Message-ID": letter.message_id})
        self._post(
            "ChatStreamDidNotDeliverMessage", message_id=letter.message_id, code=code, reason=reason, chunk=chunk
        )

    def _ended(self) -> None:
        """What never left, because the stream did not start, is not delivered either."""
        self._is_flowing = False
        for letter in [*self._unreported.values(), *self._outbox, *self._waiting]:
            self._not_delivered(letter, _TIMEOUT, "the stream has ended", None)
        self._outbox.clear()
        self._waiting.clear()

    async def _finish(self) -> None:
        self._empty_outbox()
        await self._outbox_is_empty.wait()

    # Receiving

    def _session_options(self) -> SessionOptions:
        return replace(
            super()._session_options(), assemble=True, max_message_size=MAX_CHAT_MESSAGE, report_success=False
        )

    def _handle_SEND(self, chunk: MSRPData) -> None:
        assert self.msrp_session is not None  # it is what the message came by
        code = 200 if self.direction == "sendonly" else self._take(chunk)
        wanted = chunk.success_report == "yes" if code == 200 else chunk.failure_report != "no"
        if wanted:
            size = len(chunk.data)
            self.msrp_session.report(chunk, code, ByteRange(1, size, size))

    def _take(self, chunk: MSRPData) -> int:
        """Tell what a message says; the status to report about it."""
        content_type = chunk.content_type or ""
        message: ChatMessage
        if content_type.partition(";")[0].strip().lower() == CPIM:
            try:
                message = CPIMMessage.parse(chunk.data)
            except CPIMParserError:
                return _BAD_REQUEST
            if not media_type_matches(message.content_type, self.accept_wrapped_types or ()):
                return _UNSUPPORTED
            message.timestamp = message.timestamp or _now()
            message.sender = message.sender or self.remote_identity
        else:
            body, content_type = decode_body(chunk.data, content_type)
            message = ChatMessage(body, content_type, self.remote_identity, self.local_identity, _now())
        if message.content_type.partition(";")[0].strip().lower() == iscomposing.CONTENT_TYPE:
            return self._take_indication(message)
        self._post("ChatStreamGotMessage", message=message)
        return 200

    def _take_indication(self, message: ChatMessage) -> int:
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        try:
            document = IsComposing.parse(body)
        except MalformedDocument:
            return _BAD_REQUEST
        self._post(
            "ChatStreamGotComposingIndication",
            state=document.state,
            refresh=document.refresh,
            last_active=document.last_active,
            content_type=document.content_type,
            sender=message.sender,
        )
        return 200


def _now() -> datetime:
    return datetime.now().astimezone()


def _party(identity: ChatIdentity) -> tuple[str | None, str]:
    """User and host: who somebody is, however the way there is written."""
    try:
        uri = CPIMIdentity.parse(str(identity.uri)).uri
    except ValueError:
        return None, str(identity.uri)
    return uri.user, uri.host.lower()


def _listed(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
