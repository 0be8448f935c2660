"""One user agent of the demonstration, in a process of its own: `python -m sipsimple.cli.demo.agent`.

Orders come as JSON lines on standard input, the first of them says who the agent is; what happens goes out as JSON
lines on standard output. When the input ends, so does the agent: nothing is left behind when its director dies.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.application import SIPApplication
from sipsimple.audio import WavePlayer, WaveRecorder
from sipsimple.cli.demo.desktop import NotRFB
from sipsimple.cli.demo.together import Companion, greet, look_at_desktop, send_file
from sipsimple.cli.lines import entered_lines
from sipsimple.cli.output import CommandError
from sipsimple.cli.status import Summary
from sipsimple.cli.target import find_routes, proxy_uri
from sipsimple.cli.trace import describe
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, SIPCoreError, ToHeader, ToneGenerator
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.session import Session, SessionError
from sipsimple.streams import AudioStream, ChatStream, StreamError

LEAD_IN: Final = 0.4
"""Seconds of silence at the beginning of a call: a jitter buffer looks at the first three before it corrects its delay,
and a correction in the middle of a word would be a flaw in the recording."""
RING_TIME: Final = 0.6
LAST_WORDS: Final = 0.5
DISTURBANCE: Final = (1000, 0, 700)
"""A tone of 1000 Hz, mixed into the audio for 700 ms, that must fail the verdict."""

_REPORTED: Final = (
    "SIPApplication", "SIPAccount", "SIPSession", "MediaStream", "AudioStream", "ChatStream", "FileTransferStreamDid",
    "WavePlayer",
)  # fmt: skip


def report(event: str, **values: Any) -> None:
    """Tell the director what happened."""
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **values}) + "\n")
    sys.stdout.flush()


@implementer(IObserver)
class Reporter:
    """Reports the notifications that an application would look at."""

    def handle_notification(self, notification: Notification) -> None:
        if notification.name.startswith(_REPORTED) and notification.name != "FileTransferStreamDidDeliverChunk":
            data = vars(notification.data)
            values = {name: describe(value) for name, value in data.items() if name != "timestamp"}
            report("notification", name=notification.name, data=values)


class Orders:
    """The lines of standard input, each an order."""

    def __init__(self) -> None:
        self._lines = entered_lines()

    async def next(self) -> dict[str, Any] | None:
        """The next order; None when there are no more."""
        line = await anext(self._lines, None)
        return None if line is None else dict(json.loads(line))


def configuration(who: dict[str, Any]) -> MemoryBackend:
    """An account at the server of the demonstration, and no sound hardware."""
    return MemoryBackend(
        {
            "SIPSimpleSettings": {
                "default_account": who["account"],
                "local_ip": "127.0.0.1",
                "user_agent": f"sipsimple demo {who['name']}",
                "audio": {"input_device": None, "output_device": None, "alert_device": None},
                # With all its streams the description of a session is too large for a datagram.
                "sip": {"transport_list": ["tcp"]},
                "rtp": {"audio_codec_list": [who["codec"]]},
            },
            "Accounts": {
                "bonjour@local": {"enabled": "false"},
                who["account"]: {
                    "enabled": "true",
                    "password": who["password"],
                    "display_name": who["display_name"],
                    "sip": {"outbound_proxy": who["proxy"]},
                },
            },
        }
    )


@implementer(IObserver)
class Agent:
    """A user of the middleware who does what the director says."""

    def __init__(self, who: dict[str, Any]) -> None:
        self.who = who
        self.account: Any = AccountManager().get_account(who["account"])
        self.player: WavePlayer | None = None
        self.recorder: WaveRecorder | None = None
        self._began = time.monotonic()

    async def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order to its end."""
        if order["do"] == "call":
            await self.call(order["target"], order["play"], order["screenshot"], disturbed=order["disturbed"])
        else:
            await self.be_called(order["record"], order["directory"])

    async def call(self, target: str, file: str, screenshot: str, *, disturbed: bool) -> None:
        """Call somebody: say hello, play the file, send it, look at the desktop, hang up."""
        audio, chat = AudioStream(self.account), ChatStream(self.account)
        session = Session(self.account)
        NotificationCenter().add_observer(self, sender=session)
        routes = await find_routes(proxy_uri(self.account.sip.outbound_proxy))
        await session.connect(ToHeader(SIPURI.parse(target)), routes, [audio, chat])
        self._began = time.monotonic()
        await asyncio.sleep(LEAD_IN)
        await greet(chat, report)
        await self._play(audio, file, disturbed=disturbed)
        await asyncio.sleep(LAST_WORDS)
        await send_file(session, file, report)
        await look_at_desktop(session, screenshot, report)
        await session.end()
        report("done")

    async def _play(self, audio: AudioStream, file: str, *, disturbed: bool) -> None:
        self.player = WavePlayer(audio.mixer, file)
        audio.bridge.add(self.player)
        async with NotificationCenter().subscribe("WavePlayerDidEnd", self.player) as ends:
            await self.player.start()
            report("playing", codec=audio.codec)
            if disturbed:
                await self._disturb(audio)
            await ends.next()

    async def _disturb(self, stream: AudioStream) -> None:
        await asyncio.sleep(2)
        tone = ToneGenerator(stream.mixer)
        tone.start()
        if tone.slot is not None and stream.consumer_slot is not None:
            stream.mixer.connect_slots(tone.slot, stream.consumer_slot)
            async with NotificationCenter().subscribe("ToneGeneratorDidFinishPlaying", tone) as ends:
                tone.play_tones([DISTURBANCE])
                await ends.next()
        tone.stop()

    async def be_called(self, file: str, directory: str) -> None:
        """Wait for a call, ring, take it with all that comes, and record what the caller plays until the end."""
        center = NotificationCenter()
        report("waiting")
        announcement = await center.wait("SIPSessionNewIncoming")
        session: Any = announcement.sender
        center.add_observer(self, sender=session)
        session.send_ring_indication()
        await asyncio.sleep(RING_TIME)
        companion = Companion(session, directory, report)
        async with center.subscribe(("SIPSessionDidEnd", "SIPSessionDidFail"), session) as ends:
            await session.accept(announcement.data.streams)
            self._began = time.monotonic()
            stream = session.streams[0]
            self.recorder = WaveRecorder(stream.mixer, file)
            await self.recorder.start_soon()
            stream.mixer.connect_slots(stream.producer_slot, self.recorder.consumer_slot)
            await ends.next()
        companion.stop()
        await self.recorder.stop()
        report("done")

    def handle_notification(self, notification: Notification) -> None:
        if notification.name == "SIPSessionWillEnd":
            # The last moment at which the stream still knows its statistics.
            for stream in getattr(notification.sender, "streams", None) or ():
                if stream.type == "audio":
                    seconds = time.monotonic() - self._began
                    report("statistics", **Summary(stream.codec, stream.statistics, seconds).json())


async def until_last_order(work: Coroutine[Any, Any, None], orders: Orders) -> None:
    """Do the work; stop, finished or not, when the next order comes or the input ends."""
    task = asyncio.create_task(work)
    last = asyncio.create_task(orders.next())
    await asyncio.wait((task, last), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    except (SIPCoreError, SessionError, CommandError, StreamError, NotRFB, TimeoutError) as error:
        report("failed", error=str(error) or type(error).__name__)
    await last


async def main() -> None:
    """Live from the first order to the end of the input."""
    orders = Orders()
    who = await orders.next()
    if who is None:
        return
    NotificationCenter().add_observer(Reporter())
    report("here")
    order = await orders.next()  # "start": everything is imported, and the director is ready
    if order is None:
        return
    async with SIPApplication.running(configuration(who)):
        Engine().trace_sip = False  # the server in the middle sees it all
        order = await orders.next()
        if order is not None:
            await until_last_order(Agent(who).obey(order), orders)
    report("ended")


if __name__ == "__main__":
    asyncio.run(main())
