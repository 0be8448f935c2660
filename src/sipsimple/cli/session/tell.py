"""What happens, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sipsimple.cli.output import clean, clean_lines
from sipsimple.cli.session.call import Call, describe, kinds_of
from sipsimple.cli.session.progress import FileProgress
from sipsimple.notification import IObserver, Notification, NotificationCenter

if TYPE_CHECKING:
    from sipsimple.cli.session.client import Client

MAX_MESSAGE: Final = 20_000
"""Characters of one chat message that are shown."""
NAMES: Final = (
    "SIPSessionNewIncoming", "SIPSessionGotRingIndication", "SIPSessionDidStart", "SIPSessionDidFail",
    "SIPSessionDidEnd", "SIPSessionGotProposal", "SIPSessionGotRejectProposal", "SIPSessionHadProposalFailure",
    "SIPSessionDidRenegotiateStreams", "SIPSessionDidChangeHoldState", "SIPSessionTransferNewIncoming",
    "SIPSessionTransferDidStart", "SIPSessionTransferDidEnd", "SIPSessionTransferDidFail",
    "MediaStreamDidStart", "MediaStreamDidFail", "AudioStreamGotDTMF", "AudioStreamDidStartRecordingAudio",
    "AudioStreamDidStopRecordingAudio", "ChatStreamGotMessage", "ChatStreamDidNotDeliverMessage",
    "ChatStreamGotComposingIndication", "FileTransferStreamProgress", "FileTransferStreamDidDeliverChunk",
    "FileTransferStreamDidFinish", "FileTransferStreamDidNotFinish", "SIPAccountRegistrationDidSucceed",
    "SIPAccountRegistrationDidFail",
)  # fmt: skip


@implementer(IObserver)
class Teller:
    """Shows what is told by notifications, from `start()` to `stop()`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def start(self) -> None:
        for name in NAMES:
            NotificationCenter().add_observer(self, name=name)

    def stop(self) -> None:
        NotificationCenter().purge_observer(self)

    def handle_notification(self, notification: Notification) -> None:
        name, sender, data = notification.name, notification.sender, notification.data
        if name == "SIPSessionNewIncoming":
            self._incoming(sender, data.streams)
        elif name.startswith("SIPAccount"):
            self._registration(name, data)
        elif (call := self.client.find(sender)) is not None:
            if name.startswith("SIPSession"):
                self._session(name, call, data)
            else:
                self._stream(name, call, sender, data)

    # -- calls --------------------------------------------------------------------------------------------------------

    def _incoming(self, session: Any, streams: list[Any]) -> None:
        call = self.client.add(session)
        session.send_ring_indication()
        number = "" if self.client.current is call else f" (call {call.number}: /switch {call.number} first)"
        self.client.show(f"{call.party} calls: {kinds_of(streams)}; /accept or /reject{number}")
        self._accept_soon(call)

    def _accept_soon(self, call: Call) -> None:
        if self.client.auto_accept:
            self.client.current = call
            self.client.enter("/accept")

    def _session(self, name: str, call: Call, data: Any) -> None:
        show = self.client.show
        match name:
            case "SIPSessionGotRingIndication":
                show(f"{call.party}: ringing")
            case "SIPSessionDidStart":
                show(f"{call.party}: connected with {kinds_of(data.streams)}")
            case "SIPSessionDidFail":
                code = f"{data.code} " if data.code else ""
                show(f"{call.party}: no call, {code}{clean(data.reason or data.failure_reason)}")
                self.client.remove(call)
            case "SIPSessionDidEnd":
                who = "the other party hung up" if data.originator == "remote" else clean(data.end_reason)
                show(f"{call.party}: the call ended, {who}")
                self.client.remove(call)
            case "SIPSessionGotProposal" if data.originator == "remote":
                call.session.send_ring_indication()
                show(f"{call.party} proposes {kinds_of(data.streams)}; /accept or /reject")
                self._accept_soon(call)
            case "SIPSessionGotRejectProposal":
                show(f"{call.party}: {kinds_of(data.streams)} was refused, {data.code} {clean(data.reason)}")
            case "SIPSessionHadProposalFailure":
                show(f"{call.party}: the proposal failed, {clean(data.failure_reason)}")
            case "SIPSessionDidRenegotiateStreams":
                show(f"{call.party}: {'with' if data.action == 'add' else 'without'} {kinds_of(data.streams)} now")
            case "SIPSessionDidChangeHoldState":
                who = "we" if data.originator == "local" else call.party
                show(f"{who} put the call {'on' if data.on_hold else 'out of'} hold")
            case "SIPSessionTransferNewIncoming":
                call.transfer_waits = True
                show(f"{call.party} wants us to call {clean(data.transfer_destination)}; /accept or /reject")
            case "SIPSessionTransferDidStart":
                show(f"{call.party}: the transfer is under way")
            case "SIPSessionTransferDidEnd":
                show(f"{call.party}: transferred")
            case "SIPSessionTransferDidFail":
                call.transfer_waits = False
                show(f"{call.party}: the transfer failed, {data.code} {clean(data.reason)}")

    # -- streams ------------------------------------------------------------------------------------------------------

    def _stream(self, name: str, call: Call, stream: Any, data: Any) -> None:
        show = self.client.show
        match name:
            case "MediaStreamDidStart":
                self._started(stream)
            case "MediaStreamDidFail":
                show(f"{call.party}: {describe(stream)} failed, {clean(data.reason)}")
            case "AudioStreamGotDTMF":
                show(f"{call.party} pressed {clean(data.digit)}")
            case "AudioStreamDidStartRecordingAudio":
                show(f"recording to {clean(data.filename)}")
            case "AudioStreamDidStopRecordingAudio":
                show(f"recorded {clean(data.filename)}")
            case "ChatStreamGotMessage":
                self._message(call, data.message)
            case "ChatStreamDidNotDeliverMessage":
                show(f"! not delivered, {data.code} {clean(data.reason)}")
            case "ChatStreamGotComposingIndication" if data.state == "active":
                show(f"{call.short} is typing")
            case "FileTransferStreamProgress" | "FileTransferStreamDidDeliverChunk":
                self._progress(stream).reached(data.transferred_bytes, data.file_size)
            case "FileTransferStreamDidFinish":
                self._finished(call, stream)
            case "FileTransferStreamDidNotFinish":
                self.client.progress.pop(id(stream), None)
                show(f"{call.party}: {describe(stream)} did not get through, {clean(data.reason)}")

    def _started(self, stream: Any) -> None:
        if stream.type == "desktop-sharing" and hasattr(stream.handler, "address") and stream.handler.type == "active":
            host, port = stream.handler.address
            self.client.show(f"connect a VNC viewer to {clean(host)}:{port} to see the desktop")

    def _message(self, call: Call, message: Any) -> None:
        if message.content_type.startswith("text/"):
            text = message.body if isinstance(message.body, str) else message.body.decode("utf-8", "replace")
            text = clean_lines(text[:MAX_MESSAGE])
        else:
            text = f"({clean(message.content_type)}, {len(message.body)} bytes)"
        self.client.show(f"{call.short}: {text}")

    def _progress(self, stream: Any) -> FileProgress:
        return self.client.progress.setdefault(id(stream), FileProgress(stream))

    def _finished(self, call: Call, stream: Any) -> None:
        self.client.progress.pop(id(stream), None)
        if stream.direction == "recvonly":
            self.client.show(f"{call.party}: {describe(stream)} was received as {clean(stream.filename)}")
        else:
            self.client.show(f"{call.party}: {describe(stream)} was sent")
            self.client.done_with(call, stream)

    def _registration(self, name: str, data: Any) -> None:
        if name == "SIPAccountRegistrationDidSucceed":
            self.client.show(f"registered for {data.expires} seconds")
        else:
            self.client.show(f"! not registered: {clean(data.error)}")
