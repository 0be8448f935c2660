"""Files over MSRP (RFC 5547): sent, received, asked for and continued.

A stream with an open file in its selector offers to send it. `pull` makes one that asks for a file; a stream that the
remote asks with gets its file by `provide`, and fails without. A receiving stream with a `directory` stores the file
itself (`sipsimple.streams.msrp.file_receiver`); without one it hands on what comes, and the application does the rest.

A transfer ends with FileTransferStreamDidFinish or FileTransferStreamDidNotFinish, one of them and once. The sender
finishes when the remote has reported success for every byte; one that stores files does so when the file is in place.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any, Final

from sipsimple.loop import Result, run_in_loop
from sipsimple.msrp import Disconnected, Event, MSRPData, MSRPError, OutgoingMessage, SessionOptions, status
from sipsimple.msrp.message import ABORTED, COMPLETE
from sipsimple.streams.interface import InvalidStreamError, UnknownStreamError
from sipsimple.streams.msrp.base import MSRPStreamBase
from sipsimple.streams.msrp.file_receiver import FileReceiver
from sipsimple.streams.msrp.filedescription import FileDescription, FileRange
from sipsimple.streams.msrp.filehash import hash_blocks
from sipsimple.streams.msrp.fileselector import DEFAULT_TYPE, FileSelector
from sipsimple.streams.msrp.incoming_file import FileTransferError
from sipsimple.streams.msrp.outgoing_file import OutgoingFile

__all__ = ["FileTransferStream"]

CPIM: Final = "message/cpim"
STORE_TIMEOUT: Final = 30.0
"""Seconds that a stream which ends gives to a disk that is slow to take what has come."""


class FileTransferStream(MSRPStreamBase):
    """One file, from or to the remote: `direction` is `sendonly` or `recvonly`.

    `file_selector` describes it; a received stream has that of the offer. `directory` is where a received file goes,
    verified and under a name that is safe and new, which is then in `filename`; set it before the stream is accepted.
    What was cut off in that directory is continued. Without a directory the parts come as notifications only.

    Besides the documented notifications there are FileTransferStreamDidNotFinish (`reason`, `transferred_bytes`,
    `file_size`), FileTransferStreamProgress for files that are stored, and FileTransferStreamHashProgress while a file
    without a hash is read before it is offered (`transferred_bytes` and `processed_bytes` of `file_size`).
    """

    type = "file-transfer"
    priority = 10
    media_type = "message"
    accept_types = ["*"]
    accept_wrapped_types = ["*"]
    use_msrp_session = True
    offered_by_default = False

    def __init__(
        self,
        account: Any,
        file_selector: FileSelector | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(account, "recvonly" if file_selector is None else "sendonly")
        self.file_selector = file_selector
        self.directory = directory
        self.filename: str | None = None
        """The path of the received file, once it is there."""
        self.transferred_bytes = 0
        """How much of the file is at the receiver, with what was there before."""
        self.finished: Result[str | None] = Result()
        """Settled when the transfer is over: with `filename`, or as failed with FileTransferError."""
        self.remote_file: FileDescription | None = None
        """What the remote says about the file: date, disposition and range besides the selector."""
        self._description: FileDescription | None = None
        self._receiver: FileReceiver | None = None
        self._storing: asyncio.Task[None] | None = None
        self._message: OutgoingMessage | None = None
        self._message_id: str | None = None
        self._begin = 0
        self._failure = "the stream has ended before the transfer was over"
        self._over = asyncio.Event()

    @classmethod
    def pull(
        cls, account: Any, file_selector: FileSelector, *, directory: str | os.PathLike[str] | None = None
    ) -> FileTransferStream:
        """A stream that asks the remote for a file. A selector with hash and size continues what was cut off."""
        stream = cls(account, directory=directory)
        stream.file_selector = file_selector
        return stream

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> FileTransferStream:
        """A stream for a file that is offered, or asked for: then `direction` is `sendonly`.

        Raises UnknownStreamError for what is no file, and InvalidStreamError for what we cannot do.
        """
        media = remote_sdp.media[stream_index]
        try:
            description = FileDescription.parse(media) if media.media == cls.media_type else None
        except ValueError as error:
            raise InvalidStreamError(str(error)) from error
        if description is None:
            raise UnknownStreamError("this is no media with an a=file-selector")
        offer = cls._read_offer(account, remote_sdp, stream_index)
        wanted, file_range, size = offer.direction, description.range, description.selector.size
        if wanted not in ("sendonly", "recvonly"):
            raise InvalidStreamError(f"a file goes one way, not {wanted}")
        if wanted == "sendonly" and file_range is not None and not file_range.is_whole(size):
            raise InvalidStreamError(f"only the bytes {file_range} of the file are offered")
        stream = cls(account)
        stream.direction = "recvonly" if wanted == "sendonly" else "sendonly"
        stream.remote_offer = offer
        stream.remote_file = description
        stream.file_selector = description.selector
        return stream

    @property
    def transfer_id(self) -> str | None:
        """The `file-transfer-id`, the same at both ends (RFC 5547 6); None before it is known."""
        described = self._description or self.remote_file
        return None if described is None else described.transfer_id

    @property
    def file_size(self) -> int | None:
        """The size of the whole file in bytes; None when nobody has said it."""
        return None if self.file_selector is None else self.file_selector.size

    def provide(self, file_selector: FileSelector) -> None:
        """Give the file that the remote asks for, before the stream is accepted.

        Raises ValueError when it is not the file that was asked for, RuntimeError when none was.
        """
        if self.remote_file is None or self.direction != "sendonly" or self.state != "NULL":
            raise RuntimeError("provide() is for a stream that asks for a file, and was not accepted yet")
        if not self.remote_file.selector.matches(file_selector):
            raise ValueError(f"{file_selector!r} is not what was asked for, {self.remote_file.selector!r}")
        self.file_selector = file_selector

    def cancel(self) -> None:
        """Give the transfer up, without ending the stream; the remote is told. What can be continued is kept.

        A file that was sent whole already may have arrived: then it is the remote that decides.
        """
        run_in_loop(self._cancel)

    def _cancel(self) -> None:
        if self._over.is_set() or self.state != "STARTED":
            return
        if self.direction == "recvonly":
            self._refuse("cancelled")
        else:
            self._give_up_sending()

    def _give_up_sending(self) -> None:
        """Send no more; what has gone whole is left to the remote, which may have it already."""
        message = self._message
        if message is not None and not message.is_sent and self.msrp_session is not None:
            self.msrp_session.abort(message)

    # The description

    async def _prepare(self) -> None:
        selector = self.file_selector
        if selector is None:
            raise FileTransferError("there is no file: give a FileSelector for a file to send, or use pull()")
        if self.direction == "sendonly":
            await self._prepare_sending(selector)
            return
        file_range = None if self.remote_file is not None and self.remote_file.range is None else FileRange()
        self._description = self._describe(selector, file_range)
        if self.directory is None:
            return
        self._receiver = FileReceiver(self.directory, selector, self._stored)
        # Without a hash there is nothing to find, and who asks for a file learns its size from the answer.
        if self.remote_file is not None or (selector.hashes and selector.size is not None):
            await self._receiver.prepare()
            if file_range is not None and self._receiver.offset:
                self._description.range = FileRange(self._receiver.offset + 1)

    async def _prepare_sending(self, selector: FileSelector) -> None:
        file = selector.fd
        if file is None:
            raise FileTransferError("there is no open file: FileSelector.for_file opens one")
        size = await asyncio.to_thread(OutgoingFile.size_of, file)
        if selector.size is None:
            selector.size = size
        elif selector.size != size:
            raise FileTransferError(f"the file has {size} bytes, its selector says {selector.size}")
        if selector.hash is None:
            selector.set_hashes(await hash_blocks(OutgoingFile(file, 0, size).read, self._hashed))
        asked = self.remote_file
        if asked is not None and not asked.selector.matches(selector):
            raise FileTransferError("the file is not the one that was asked for")
        self._range()  # raises for what there is not
        # Who offers says that it knows ranges; who answers repeats the one that was asked for.
        self._description = self._describe(selector, FileRange() if asked is None else asked.range)
        self._description.modified = OutgoingFile.modified(file)

    def _describe(self, selector: FileSelector, file_range: FileRange | None) -> FileDescription:
        if self.remote_file is None:
            return FileDescription(selector, range=file_range)
        offered = self.remote_file
        return FileDescription(selector, offered.transfer_id, offered.disposition, range=file_range)

    def _hashed(self, count: int) -> None:
        self._post("FileTransferStreamHashProgress", processed_bytes=count, file_size=self.file_size)

    def _sdp_attributes(self, for_offer: bool) -> list[Any]:
        return [] if self._description is None else list(self._description.attributes())

    def _negotiated(self, local_media: Any, remote_media: Any) -> None:
        assert self.remote_description is not None  # read by the caller
        forbidden = ("sendonly", "inactive") if self.direction == "sendonly" else ("recvonly", "inactive")
        if self.remote_description.direction in forbidden:
            raise InvalidStreamError(f"we are {self.direction}, and the remote {self.remote_description.direction}")
        try:
            remote = FileDescription.parse(remote_media)
        except ValueError as error:
            raise InvalidStreamError(str(error)) from error
        asked_for = self.direction == "recvonly" and self.remote_file is None
        self.remote_file = remote
        if asked_for:
            self._learn(remote)
        elif self.direction == "sendonly":
            start, stop = self._range()
            limit = self.remote_description.max_size
            if limit is not None and stop - start > limit:
                raise InvalidStreamError(f"the remote takes no more than {limit} bytes")
        if self._receiver is not None and (remote is None or remote.range is None):
            self._receiver.forget_earlier()

    def _learn(self, answer: FileDescription | None) -> None:
        """Take over what the answer says about the file that we have asked for."""
        selector = self.file_selector
        if selector is None or answer is None:
            return
        if not selector.matches(answer.selector):
            raise InvalidStreamError(f"asked for {selector!r}, the remote gives {answer.selector!r}")
        for name in ("name", "type", "size", "hash", "sha256"):
            if getattr(selector, name) is None:
                setattr(selector, name, getattr(answer.selector, name))
        if answer.range is None or self._description is None:
            return
        if answer.range.start == 1 and self._receiver is not None:
            self._receiver.forget_earlier()
        elif answer.range != self._description.range:
            raise InvalidStreamError(f"asked for the bytes {self._description.range}, the remote gives {answer.range}")

    def _range(self) -> tuple[int, int]:
        """Where what the remote wants of our file begins and ends; raises InvalidStreamError."""
        size = self.file_size or 0
        file_range = self.remote_file.range if self.remote_file is not None else None
        if file_range is None:
            return 0, size
        stop = size if file_range.stop is None else file_range.stop
        if not file_range.start - 1 <= stop <= size:
            raise InvalidStreamError(f"the remote wants the bytes {file_range} of {size}")
        return file_range.start - 1, stop

    def validate_update(self, remote_sdp: Any, stream_index: int) -> bool:
        """True unless another file is meant (RFC 5547 8.5): that takes another stream."""
        if not super().validate_update(remote_sdp, stream_index):
            return False
        try:
            wanted = FileDescription.parse(remote_sdp.media[stream_index])
        except ValueError:
            return False
        return wanted is None or wanted.transfer_id in (None, self.transfer_id)

    # The transfer

    def _session_options(self) -> SessionOptions:
        return replace(super()._session_options(), report_success=self._receiver is None)

    def _NH_MediaStreamDidStart(self, _: Any) -> None:
        if self.direction == "sendonly":
            self._send()
        elif self._receiver is not None:
            # Not a task that is cancelled with the stream: what is in place by then has to be told.
            self._storing = self._endings.spawn(self._store(self._receiver))

    def _NH_MediaStreamDidFail(self, notification: Any) -> None:
        self._failure = notification.data.reason

    def _send(self) -> None:
        selector = self.file_selector
        if selector is None or self.msrp_session is None or self._over.is_set():
            return
        start, stop = self._range()
        content_type = selector.type if selector.type is not None and "/" in selector.type else DEFAULT_TYPE
        self.transferred_bytes = self._begin = start
        try:
            self._message = self.msrp_session.send(
                OutgoingFile(selector.fd, start, stop),
                content_type,
                size=stop - start,
                success_report=True,
                failure_report="partial",
            )
        except MSRPError as error:
            self._end_transfer(FileTransferError(str(error)))

    def _message_sent(self, message: OutgoingMessage) -> None:
        # A remote that reports the last byte before it has seen the end of the message reports nothing after it.
        if message is self._message and message.size and message.delivered == message.size:
            self._end_transfer(None)

    def _message_delivered(self, message: OutgoingMessage, chunk: MSRPData, is_complete: bool) -> None:
        report, end = chunk.status, chunk.byte_range.end
        self.transferred_bytes = self._begin + (message.delivered if end is None else end)
        self._post(
            "FileTransferStreamDidDeliverChunk",
            message_id=message.message_id,
            chunk=chunk,
            code=status.OK,
            reason="" if report is None else report.comment,
            transferred_bytes=self.transferred_bytes,
            file_size=self.file_size,
        )
        if is_complete:
            self._end_transfer(None)

    def _message_failed(self, message: OutgoingMessage, code: int, reason: str, chunk: MSRPData | None) -> None:
        if self._over.is_set():
            return
        if chunk is None:
            self._end_transfer(FileTransferError(reason))
            return
        self._post(
            "FileTransferStreamDidNotDeliverChunk",
            message_id=message.message_id,
            chunk=chunk,
            code=code,
            reason=reason,
        )
        self._end_transfer(FileTransferError(f"the remote does not take the file: {code} {reason}".rstrip()))

    def _screen(self, chunk: MSRPData) -> int:
        if (chunk.content_type or "").lower().startswith(CPIM) and self.direction == "recvonly":
            error = FileTransferError(f"the file came wrapped in {CPIM}")
            self._end_transfer(error)
            self._fail("reading", error)
            return status.UNSUPPORTED_MEDIA_TYPE
        if self.direction == "sendonly" or self._message_id not in (None, chunk.message_id):
            return status.STOP_SENDING
        self._message_id = chunk.message_id
        return status.OK

    def _handle_SEND(self, chunk: MSRPData) -> None:
        if self._over.is_set() or self.msrp_session is None:
            return
        if self._receiver is None:
            self._hand_on(chunk)
        else:
            self._receiver.receive(self.msrp_session, chunk)
            if chunk.continuation == ABORTED:
                self._receiver.fail(FileTransferError("the sender has given it up"))

    def _hand_on(self, chunk: MSRPData) -> None:
        byte_range, announced = chunk.byte_range, self.file_size
        size = byte_range.total if announced is None else announced
        end = byte_range.start - 1 + len(chunk.data)
        if size is not None and max(end, byte_range.total or 0) > size:
            self._refuse(f"more than the {size} bytes that were announced are coming")
            return
        self.transferred_bytes = end
        if chunk.data or chunk.continuation == COMPLETE:
            self._post(
                "FileTransferStreamGotChunk",
                content=chunk.data,
                content_type=chunk.content_type,
                transferred_bytes=end,
                file_size=size,
            )
        if chunk.continuation == ABORTED:
            self._end_transfer(FileTransferError("the sender has given it up"))
        elif chunk.continuation == COMPLETE:
            is_short = announced is not None and end < announced
            reason = f"the file has ended after {end} bytes, {announced} were announced"
            self._end_transfer(FileTransferError(reason) if is_short else None)

    def _refuse(self, reason: str) -> None:
        """Take no more of the file."""
        error = FileTransferError(reason)
        if self._receiver is not None:
            self._receiver.fail(error)
            return
        if self._message_id is not None and self.msrp_session is not None:
            self.msrp_session.refuse(self._message_id)
        self._end_transfer(error)

    async def _store(self, receiver: FileReceiver) -> None:
        try:
            self.filename = await receiver.run()
        except FileTransferError as error:
            self._end_transfer(error)
            return
        self._end_transfer(None if self.filename is not None else FileTransferError("the transfer was cut off"))

    def _stored(self, count: int) -> None:
        self.transferred_bytes = count
        self._post("FileTransferStreamProgress", transferred_bytes=count, file_size=self.file_size)

    def _end_transfer(self, error: FileTransferError | None) -> None:
        """Tell how the transfer has ended, once."""
        if self._over.is_set():
            return
        self._over.set()
        if error is None:
            self._post("FileTransferStreamDidFinish")
            self.finished.set_result(self.filename)
            return
        self._post(
            "FileTransferStreamDidNotFinish",
            reason=str(error),
            transferred_bytes=self.transferred_bytes,
            file_size=self.file_size,
        )
        self.finished.set_exception(error)

    # The end

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, Disconnected):
            self._stop_receiving("the connection was lost before the end of the file")

    def _stop_receiving(self, reason: str) -> None:
        """Nothing more comes; what has come whole is still stored."""
        if self.direction != "recvonly" or self._over.is_set():
            return
        if self._receiver is None:
            self._refuse(reason)
        elif not self._receiver.has_everything:
            self._receiver.fail(FileTransferError(reason))

    async def _finish(self) -> None:
        """Have the last reports come or go, for it is they that decide; give up what cannot be completed."""
        self._give_up_sending()
        self._stop_receiving("the session has ended before the end of the file")
        if self._message is not None or self._storing is not None:
            await self._over.wait()

    async def _close(self) -> None:
        await super()._close()
        if self._receiver is not None and self._storing is None:
            self._storing = self._endings.spawn(self._discard(self._receiver))
        if self._storing is not None:
            await asyncio.wait([self._storing], timeout=STORE_TIMEOUT)
        self._end_transfer(FileTransferError(self._failure))

    async def _discard(self, receiver: FileReceiver) -> None:
        """Let go of a file of which nothing has come."""
        receiver.close()
        await receiver.run()
