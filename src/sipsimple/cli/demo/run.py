"""`sipsimple demo`: directs the demonstration, draws its ladder while it runs, and writes the report.

The director runs the server. Alice and Bob are processes of their own, reached by JSON lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from sipsimple.cli.demo.ladder import (
    CHALLENGE,
    FAILURE,
    MEDIA,
    PROVISIONAL,
    REQUEST,
    SERVER,
    SUCCESS,
    Arrow,
    Ladder,
    TextLadder,
)
from sipsimple.cli.demo.registrar import Registrar
from sipsimple.cli.demo.report import Event, Report, write_report
from sipsimple.cli.demo.together import Together
from sipsimple.cli.demo.verdict import AudioUnusable, Verdict, compare_files
from sipsimple.cli.output import FAILED, INTERRUPTED, CommandError, clean, console, print_error, print_warning
from sipsimple.cli.running import Interrupted, interruptible
from sipsimple.sip.transport.errors import ListenError

DOMAIN: Final = "demo.example"
CALLER: Final = "alice"
CALLEE: Final = "bob"
CODEC: Final = "PCMU"

MAX_ATTEMPTS: Final = 2
START_TIMEOUT: Final = 15.0
STEP_TIMEOUT: Final = 8.0
CALL_TIMEOUT: Final = 40.0
FAREWELL_TIMEOUT: Final = 5.0

_STYLES: Final = {
    REQUEST: "cyan",
    PROVISIONAL: "dim",
    SUCCESS: "green",
    CHALLENGE: "yellow",
    FAILURE: "red",
    MEDIA: "magenta",
}


@dataclass
class DemoOptions:
    """What was asked for; `play` None is the sound that the package brings."""

    output: Path
    play: Path | None
    disturb: bool


@dataclass
class Agent:
    """A process that is one of the two users."""

    name: str
    process: asyncio.subprocess.Process
    events: list[Event] = field(default_factory=list)
    statistics: dict[str, Any] | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _seen: list[dict[str, Any]] = field(default_factory=list)

    def order(self, **order: Any) -> None:
        """Send an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def listen(self, on_media: Any) -> None:
        """Take what the agent reports, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # not ours: a library wrote to standard output
            match message["event"]:
                case "notification":
                    self.events.append(Event(message["at"], self.name, message["name"], message["data"]))
                case "statistics":
                    self.statistics = message
                case _:
                    on_media(self.name, message)
            await self._tell(message)
        await self._tell({"event": "gone"})

    async def _tell(self, message: dict[str, Any]) -> None:
        async with self._news:
            self._seen.append(message)
            self._news.notify_all()

    async def reported(self, event: str, timeout: float, name: str | None = None) -> dict[str, Any]:
        """Wait until the agent has reported this event; raises CommandError when it fails, ends or takes too long."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    for message in self._seen:
                        if message["event"] == event and name in (None, message.get("name")):
                            return message
                        self._check(message)
                    await self._news.wait()
        except TimeoutError:
            what = name or event
            raise CommandError(f"{self.name} did not report {what!r} within {timeout:g} seconds") from None

    def _check(self, message: dict[str, Any]) -> None:
        if message["event"] == "failed":
            raise CommandError(f"{self.name} failed: {clean(message['error'])}")
        if message["event"] == "gone":
            raise CommandError(f"{self.name} ended unexpectedly")
        if message.get("name") == "SIPAccountRegistrationDidFail":
            raise CommandError(f"{self.name} could not register: {clean(message['data'].get('error'))}")


class LivePicture:
    """Prints the ladder line by line while it grows."""

    def __init__(self, ladder: Ladder, began: float) -> None:
        self._text = TextLadder(ladder.parties)
        self._began = began
        ladder.on_arrow = self.show
        console().print(Text(self._text.head(), style="bold"))

    def show(self, arrow: Arrow) -> None:
        console().print(Text(self._text.line(arrow, arrow.at - self._began), style=_STYLES[arrow.kind]))


async def demo(options: DemoOptions) -> int:
    """Run the demonstration; returns the exit status, 0 only when the audio arrived."""
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"{clean(options.output)} cannot be made: {error.strerror}; name another --output"
        ) from error
    with as_file(files("sipsimple") / "data" / "demo.wav") as shipped:
        source = (options.play or shipped).absolute()
        output = options.output.absolute()
        recording, page = output / "recording.wav", output / "report.html"
        async with interruptible() as interrupt:
            try:
                report, verdict = await interrupt.race(_perform_until_heard(options, source, recording))
            except Interrupted:
                return INTERRUPTED
        write_report(page, report, verdict, source, recording)
    return _conclude(verdict, recording, page)


async def _perform_until_heard(options: DemoOptions, source: Path, recording: Path) -> tuple[Report, Verdict]:
    """Perform, and once more when the audio did not arrive whole: a busy machine delays packets like a bad network."""
    earlier: list[Verdict] = []
    while True:
        report = await _perform(options, source, recording)
        report.earlier.extend(earlier)
        try:
            verdict = compare_files(source, recording)
        except AudioUnusable as error:
            raise CommandError(str(error)) from error
        verdict.faults_besides.extend(report.together.faults)
        if verdict.passed or options.disturb or len(earlier) + 1 == MAX_ATTEMPTS:
            return report, verdict
        print_warning(f"{verdict}. Is this machine busy? Calling once more.")
        earlier.append(verdict)


def _conclude(verdict: Verdict, recording: Path, page: Path) -> int:
    console().print()
    console().print(Text.assemble(("recording  ", "dim"), str(recording)))
    for name in ("desktop.png", "received"):
        console().print(Text.assemble((f"{name.partition('.')[0]:<11}", "dim"), str(page.with_name(name))))
    console().print(Text.assemble(("report     ", "dim"), str(page)))
    if verdict.passed:
        console().print(Text.assemble(("verdict    ", "dim"), (f"PASSED: {verdict}", "bold green")))
        return 0
    print_error(f"FAILED: {verdict}")
    return FAILED


async def _perform(options: DemoOptions, source: Path, recording: Path) -> Report:
    """The whole play, from the start of the server to the end of both agents."""
    began = time.time()
    passwords = {name: secrets.token_urlsafe(12) for name in (CALLER, CALLEE)}
    registrar = Registrar(DOMAIN, passwords)
    ladder, together = Ladder((CALLER, SERVER, CALLEE), time.time), Together()
    screenshot, received = _empty(recording)
    registrar.endpoint.on_trace = ladder.trace
    try:
        port = await registrar.start(transports=("tcp",))
        LivePicture(ladder, began)

        def on_media(who: str, message: dict[str, Any]) -> None:
            together.take(who, message)
            arrow = media_arrow(who, message)
            if arrow is not None:
                ladder.add(arrow)

        async with _agent(CALLER, on_media) as alice, _agent(CALLEE, on_media) as bob:
            for agent in (alice, bob):
                agent.order(
                    name=agent.name,
                    account=f"{agent.name}@{DOMAIN}",
                    password=passwords[agent.name],
                    display_name=agent.name.capitalize(),
                    proxy=f"127.0.0.1:{port};transport=tcp",
                    codec=CODEC,
                )
            for agent in (bob, alice):
                await agent.reported("here", START_TIMEOUT)
                agent.order(do="start")
                await agent.reported("notification", STEP_TIMEOUT, "SIPAccountRegistrationDidSucceed")
            bob.order(do="be called", record=str(recording), directory=str(received))
            await bob.reported("waiting", STEP_TIMEOUT)
            alice.order(
                do="call",
                target=f"sip:{CALLEE}@{DOMAIN}",
                play=str(source),
                screenshot=str(screenshot),
                disturbed=options.disturb,
            )
            await alice.reported("done", CALL_TIMEOUT)
            await bob.reported("done", STEP_TIMEOUT)
            for agent in (alice, bob):
                agent.order(do="stop")
                await agent.reported("ended", STEP_TIMEOUT)
    except ListenError as error:
        raise CommandError(f"the server of the demonstration cannot listen: {error}") from error
    finally:
        await registrar.stop()
    events = sorted((*alice.events, *bob.events), key=lambda event: event.at)
    statistics = {agent.name: agent.statistics or {} for agent in (alice, bob)}
    return Report(began, time.time() - began, ladder, events, statistics, (CALLER, CALLEE), CODEC, together)


def _empty(recording: Path) -> tuple[Path, Path]:
    """Remove what an earlier run left; returns the places of the screenshot and of received files."""
    screenshot, received = recording.with_name("desktop.png"), recording.with_name("received")
    recording.unlink(missing_ok=True)
    screenshot.unlink(missing_ok=True)
    shutil.rmtree(received, ignore_errors=True)
    received.mkdir()
    return screenshot, received


def media_arrow(who: str, message: dict[str, Any]) -> Arrow | None:
    """The arrow of what passed between the two without the server, if it is any."""
    other = CALLEE if who == CALLER else CALLER
    match message["event"]:
        case "playing":
            return Arrow(message["at"], who, other, f"audio, RTP, {clean(message['codec'])}", MEDIA)
        case "heard":
            return Arrow(message["at"], other, who, "message, MSRP over TLS", MEDIA)
        case "file sent":
            return Arrow(message["at"], who, other, "file, MSRP over TLS", MEDIA)
        case "desktop seen":
            return Arrow(message["at"], other, who, "desktop, RFB in MSRP over TLS", MEDIA)
    return None


@asynccontextmanager
async def _agent(name: str, on_media: Any) -> AsyncIterator[Agent]:
    """A process of the running interpreter; it is gone at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sipsimple.cli.demo.agent",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C reaches the director, which ends its agents in good order.
        start_new_session=True,
    )
    agent = Agent(name, process)
    listening = asyncio.create_task(agent.listen(on_media))
    try:
        yield agent
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(FAREWELL_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
