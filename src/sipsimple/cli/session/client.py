"""The state of `sipsimple session`: the calls, the current one, and how streams for it are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sipsimple.cli.output import WRONG_USE, CommandError, clean
from sipsimple.cli.session.actions import COMMANDS
from sipsimple.cli.session.call import KINDS, Call, kinds_of
from sipsimple.cli.session.commands import parse
from sipsimple.cli.session.composing import Composing
from sipsimple.cli.session.progress import FileProgress
from sipsimple.cli.target import find_routes, parse_target, proxy_uri
from sipsimple.core import SIPCoreError, ToHeader
from sipsimple.loop import TaskOwner
from sipsimple.notification import NotificationCenter
from sipsimple.session import IllegalStateError, Session, SessionError
from sipsimple.streams import (
    AudioStream,
    ChatStream,
    DesktopSharingStream,
    ExternalVNCServerHandler,
    ExternalVNCViewerHandler,
    FileSelector,
    FileTransferStream,
    StreamError,
)

VIEWER_PATIENCE: Final = 120.0
"""Seconds that a person has to connect a VNC viewer."""
PATIENCE: Final = 10.0
"""Seconds for which a command waits for another one's negotiation."""
FAILURES: Final = (
    CommandError, SIPCoreError, SessionError, IllegalStateError, StreamError, ValueError, RuntimeError, OSError,
)  # fmt: skip


class Client:
    """What the commands work on; `show` prints a line."""

    def __init__(
        self,
        account: Any,
        show: Callable[[str], None],
        *,
        proxy: Any = None,
        downloads: Path,
        desktop: tuple[str, int],
        auto_accept: bool = False,
    ) -> None:
        """`desktop` is the VNC server that is shared when somebody wants to see this desktop."""
        self.account = account
        self.show = show
        self.downloads = downloads
        self.desktop = desktop
        self.auto_accept = auto_accept
        self.calls: dict[int, Call] = {}
        self.current: Call | None = None
        self.progress: dict[int, FileProgress] = {}
        self.over = asyncio.Event()
        self.tasks = TaskOwner("session client")
        self.composing = Composing(self.chat_stream, self.tasks)
        self._proxy = proxy
        self._last = 0
        self._no_more_lines = False
        self._entered = 0  # lines that are being obeyed

    # -- lines --------------------------------------------------------------------------------------------------------

    def enter(self, line: str) -> None:
        """Do what a line says; what goes wrong is shown."""
        if line.strip():
            self._entered += 1
            self.tasks.spawn(self._enter(line))

    async def _enter(self, line: str) -> None:
        try:
            if line.lstrip().startswith("/"):
                command, arguments = parse(line, COMMANDS)
                await command.action(self, arguments)
            else:
                self.say(line)
        except FAILURES as error:
            self.show(f"! {clean(error) or type(error).__name__}")
        finally:
            self._entered -= 1
            self._quit_if_idle()

    def say(self, line: str) -> None:
        """Say something in the chat of the current call. Raises CommandError when there is none."""
        chat = self.chat_stream()
        if chat is None:
            raise CommandError("there is no chat: /add chat to the call first, or begin commands with a slash")
        self.composing.sent()
        chat.send_message(line)

    def chat_stream(self) -> Any | None:
        """The chat of the current call, or None."""
        return None if self.current is None else self.current.stream("chat")

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self) -> Call:
        """The current call; raises CommandError when there is none."""
        if self.current is None:
            raise CommandError("there is no call: /call somebody first")
        return self.current

    def number(self, text: str) -> Call:
        """The call of this number. Raises CommandError."""
        try:
            return self.calls[int(text)]
        except (KeyError, ValueError):
            raise CommandError(f"there is no call {clean(text)}: /calls shows them", WRONG_USE) from None

    def find(self, sender: object) -> Call | None:
        """The call that a session or a stream belongs to."""
        return next((one for one in self.calls.values() if one.session is sender or one.has(sender)), None)

    def add(self, session: Any) -> Call:
        """Give a session its number, and make it the current call when there is no other."""
        self._last += 1
        call = self.calls[self._last] = Call(self._last, session)
        if self.current is None:
            self.current = call
        return call

    def remove(self, call: Call) -> None:
        """Forget a call that is over."""
        self.calls.pop(call.number, None)
        for stream in call.all_streams:
            self.progress.pop(id(stream), None)
        if self.current is call:
            self.current = next(reversed(self.calls.values()), None)
            if self.current is not None:
                self.show(f"current call is {self.current.line()}")
        self._quit_if_idle()

    async def dial(self, target: str, streams: Sequence[Any]) -> None:
        """Call somebody with these streams; what becomes of it is told by notifications. Raises CommandError."""
        uri = parse_target(target, str(self.account.id.domain))
        routes = await find_routes(proxy_uri(self._proxy) if self._proxy is not None else uri)
        session = Session(self.account)
        call = self.add(session)
        self.current = call
        self.show(f"calling {clean(uri)} ({kinds_of(streams)})")
        started = session.connect(ToHeader(uri), routes, streams)
        # Its outcome is shown as a notification, like everything that happens to a call.
        started.add_done_callback(lambda _: None)

    async def ready(self) -> Call:
        """The current call, once nothing is being negotiated in it. Raises CommandError."""
        call = self.call()
        if not await self._is_ready(call):
            raise CommandError(f"the call with {call.party} is {clean(call.session.state)}, and not connected")
        return call

    async def _is_ready(self, call: Call) -> bool:
        """Wait until a proposal can be made; False when that does not come."""
        async with NotificationCenter().subscribe(sender=call.session) as events:
            try:
                async with asyncio.timeout(PATIENCE):
                    while call.session.state not in ("connected", "terminated"):
                        await events.next()
            except TimeoutError:
                return False
        return bool(call.session.state == "connected")

    # -- streams ------------------------------------------------------------------------------------------------------

    def make_streams(self, kinds: Sequence[str]) -> list[Any]:
        """New streams of these kinds. Raises CommandError for a kind that is none."""
        return [self.make_stream(kind) for kind in kinds]

    def make_stream(self, kind: str) -> Any:
        match kind:
            case "audio":
                return AudioStream(self.account)
            case "chat":
                return ChatStream(self.account)
            case "desktop":
                return self.view_stream()
        raise CommandError(f"{clean(kind)!r} is no stream that can be added so: audio, chat or desktop", WRONG_USE)

    async def file_stream(self, path: Path) -> Any:
        """A stream that sends the file; its hash is computed before it is offered. Raises OSError."""
        selector = await asyncio.to_thread(FileSelector.for_file, str(path), compute_hash=False)
        return FileTransferStream(self.account, selector)

    def done_with(self, call: Call, stream: Any) -> None:
        """Take a stream out of a call when it has done its work; end the call when nothing is left of it."""
        self.tasks.spawn(self._remove(call, stream))

    async def _remove(self, call: Call, stream: Any) -> None:
        if call.streams == [stream]:
            call.session.end()
        elif await self._is_ready(call):
            call.session.remove_stream(stream)

    def share_stream(self) -> Any:
        """A stream that shows this desktop to the other party."""
        return DesktopSharingStream(self.account, ExternalVNCServerHandler(self.desktop))

    def view_stream(self) -> Any:
        """A stream that shows the desktop of the other party in a VNC viewer here."""
        return DesktopSharingStream(self.account, self._viewer())

    def _viewer(self) -> ExternalVNCViewerHandler:
        return ExternalVNCViewerHandler(connect_timeout=VIEWER_PATIENCE)

    def equip(self, stream: Any) -> None:
        """Give a stream that the other party proposes what it needs here."""
        if stream.type == KINDS["file"]:
            self.downloads.mkdir(parents=True, exist_ok=True)
            stream.directory = self.downloads
        elif stream.type == KINDS["desktop"]:
            passive = stream.handler.type == "passive"
            stream.handler = ExternalVNCServerHandler(self.desktop) if passive else self._viewer()

    # -- the end ------------------------------------------------------------------------------------------------------

    def quit_after_calls(self) -> None:
        """There will be no more lines: end with the last call."""
        self._no_more_lines = True
        self._quit_if_idle()

    def _quit_if_idle(self) -> None:
        if self._no_more_lines and not self.calls and not self._entered:
            self.over.set()

    async def close(self) -> None:
        """Hang up everything."""
        for call in list(self.calls.values()):
            await call.session.end()
        await self.tasks.close()
