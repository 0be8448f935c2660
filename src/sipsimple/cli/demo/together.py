"""What Alice and Bob do besides talking: messages both ways, a file, a look at Bob's desktop; each end of it.

Both ends report what they saw as it happens; `Together` is what the director makes of that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from zope.interface import implementer

from sipsimple.cli.demo.desktop import Server, Viewer, desktop, png
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.streams import (
    ChatStream,
    DesktopSharingStream,
    FileSelector,
    FileTransferStream,
    InternalVNCServerHandler,
    InternalVNCViewerHandler,
)

GREETING: Final = "Hello Bob. Listen, and then have a look at the file."
REPLY: Final = "Hello Alice! I hear you. Here is my desktop: have a look, too."
PATIENCE: Final = 15.0
"""Seconds that each of the three may take."""

Tell = Callable[..., None]


@dataclass
class Together:
    """What was said, sent and seen; empty until it was reported."""

    said: list[tuple[str, str]] = field(default_factory=list)
    """Who said what, as it arrived at the other one."""
    file_name: str = ""
    file_size: int = 0
    sent_hash: str = ""
    received_hash: str = ""
    screenshot: bytes = b""
    """A PNG file."""
    screenshot_is_right: bool = False

    def take(self, who: str, message: dict[str, Any]) -> None:
        """Take what an agent reports."""
        match message["event"]:
            case "heard":
                self.said.append((message["from"], message["text"]))
            case "file sent":
                self.file_name, self.file_size, self.sent_hash = message["name"], message["size"], message["hash"]
            case "file received":
                self.received_hash = message["hash"]
            case "desktop seen":
                self.screenshot = Path(message["path"]).read_bytes()
                self.screenshot_is_right = message["same"]

    @property
    def faults(self) -> list[str]:
        """What went wrong, in words; empty when nothing did."""
        faults = []
        if [text for _, text in self.said] != [GREETING, REPLY]:
            faults.append("the messages did not arrive as they were written")
        if not self.sent_hash or self.sent_hash != self.received_hash:
            faults.append("the file that arrived is not the one that was sent")
        if not self.screenshot_is_right:
            faults.append("the desktop was not seen as it is")
        return faults


# Alice


async def greet(chat: ChatStream, tell: Tell) -> None:
    """Say hello, and wait until it is delivered and answered."""
    names = ("ChatStreamDidDeliverMessage", "ChatStreamGotMessage")
    async with asyncio.timeout(PATIENCE), NotificationCenter().subscribe(names, chat) as events:
        chat.send_message(GREETING)
        seen: set[str] = set()
        while seen != set(names):
            news = await events.next()
            seen.add(news.name)
            if news.name == "ChatStreamGotMessage":
                tell("heard", **{"from": _name(news.data.message.sender), "text": news.data.message.body})


async def send_file(session: Any, path: str, tell: Tell) -> None:
    """Send the file, in a stream that is added for it."""
    selector = await asyncio.to_thread(FileSelector.for_file, path, compute_hash=False)
    stream = FileTransferStream(session.account, selector)
    tell("adding", what="a file")
    session.add_stream(stream)
    async with asyncio.timeout(PATIENCE):
        await stream.finished
    tell("file sent", name=selector.name, size=selector.size, hash=await asyncio.to_thread(_hash, Path(path)))


async def look_at_desktop(session: Any, path: str, tell: Tell) -> None:
    """See the desktop of the other party, and keep a picture of it."""
    handler, viewer = InternalVNCViewerHandler(), Viewer()
    stream = DesktopSharingStream(session.account, handler)
    tell("adding", what="the desktop")
    async with (
        asyncio.timeout(PATIENCE),
        NotificationCenter().subscribe("DesktopSharingStreamGotData", handler) as data,
    ):
        session.add_stream(stream)
        while viewer.picture is None:
            answer = viewer.feed((await data.next()).data.data)
            if answer:
                handler.send(answer)
    await asyncio.to_thread(Path(path).write_bytes, png(viewer.picture))
    tell("desktop seen", path=path, same=bool(np.array_equal(viewer.picture, desktop())))


# Bob


@implementer(IObserver)
class Companion:
    """Answers what the other party says and proposes in one session, until `stop()`."""

    def __init__(self, session: Any, directory: str, tell: Tell) -> None:
        self._session = session
        self._directory = directory
        self._tell = tell
        self._server = Server(desktop())
        self._handler = InternalVNCServerHandler()
        self._answered = False
        center = NotificationCenter()
        center.add_observer(self, "SIPSessionGotProposal", session)
        center.add_observer(self, "DesktopSharingStreamGotData", self._handler)
        for name in ("ChatStreamGotMessage", "FileTransferStreamDidFinish", "MediaStreamDidStart"):
            center.add_observer(self, name)

    def stop(self) -> None:
        NotificationCenter().purge_observer(self)

    def handle_notification(self, notification: Notification) -> None:
        stream: Any = notification.sender
        match notification.name:
            case "SIPSessionGotProposal" if notification.data.originator == "remote":
                self._accept(notification.data.streams)
            case "ChatStreamGotMessage":
                message = notification.data.message
                self._tell("heard", **{"from": _name(message.sender), "text": message.body})
                if not self._answered:
                    self._answered = True
                    stream.send_message(REPLY)
            case "FileTransferStreamDidFinish":
                self._tell("file received", hash=_hash(Path(stream.filename)))
            case "MediaStreamDidStart" if stream.type == "desktop-sharing":
                self._handler.send(self._server.greeting())
            case "DesktopSharingStreamGotData":
                answer = self._server.feed(notification.data.data)
                if answer:
                    self._handler.send(answer)

    def _accept(self, streams: list[Any]) -> None:
        for stream in streams:
            if stream.type == "file-transfer":
                stream.directory = self._directory
            elif stream.type == "desktop-sharing":
                stream.handler = self._handler
        self._session.accept_proposal(streams)


def _name(identity: Any) -> str:
    return str(identity.display_name or identity.uri)


def _hash(path: Path) -> str:
    """The SHA-256 of a file of the size of a demonstration."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
