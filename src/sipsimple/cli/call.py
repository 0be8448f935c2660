"""`sipsimple call`: one outgoing call that plays and records files, with a summary at its end.

It reads top to bottom like the call: choose who calls, find the way, ring, talk, hang up.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.audio import WavePlayer, WaveRecorder
from sipsimple.cli.checks import check_codecs, check_recording, check_wave
from sipsimple.cli.config import Snapshot, stored
from sipsimple.cli.output import INTERRUPTED, CommandError, clean, print_json, print_warning, say
from sipsimple.cli.register import chosen_account
from sipsimple.cli.running import Interrupt, Interrupted, interruptible, running
from sipsimple.cli.status import StatusLine, Summary
from sipsimple.cli.target import LOOPBACK, find_routes, local_address_for, parse_proxy, parse_target, proxy_uri
from sipsimple.cli.trace import tracing
from sipsimple.core import SIPURI, SIPCoreError, ToHeader
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.session import Session, SessionDidEnd, SessionDidFail
from sipsimple.streams import AudioStream
from sipsimple.util import Route

LAST_WORDS: Final = 0.5
"""Seconds between the end of the played file and the BYE, so that what is on its way still arrives."""
STATUS_INTERVAL: Final = 0.5


@dataclass
class CallOptions:
    """What was asked for; times are in seconds."""

    config: Path
    target: str
    account: str | None
    proxy: str | None
    play: Path | None
    record: Path | None
    duration: float | None
    timeout: int | None
    codecs: list[str]
    bind: str | None
    trace: frozenset[str]
    json: bool


async def call(options: CallOptions) -> int:
    """Run the command; returns the exit status."""
    check_codecs(options.codecs)
    if options.play is not None:
        check_wave(options.play)
    if options.record is not None:
        check_recording(options.record)
    configuration = Snapshot(stored(options.config))
    proxy = parse_proxy(options.proxy) if options.proxy is not None else None
    account = options.account or configuration.default_account
    if account is not None:
        account = chosen_account(configuration, account)
    target = parse_target(options.target, account.rpartition("@")[2] if account else None)
    hop = proxy_uri(proxy) if proxy is not None else target
    address = options.bind or local_address_for(hop.host)
    if account is None:
        account = configuration.add_guest(address or LOOPBACK)
    else:
        configuration.keep_only(account, registered=False)
    _configure(configuration, options, account, address)
    async with interruptible() as interrupt:
        with tracing(options.trace):
            async with running(configuration):
                chosen: Any = AccountManager().get_account(account)
                if proxy is None and chosen.sip.outbound_proxy is not None:
                    hop = proxy_uri(chosen.sip.outbound_proxy)
                try:
                    routes = await interrupt.race(find_routes(hop))
                except Interrupted:
                    return INTERRUPTED
                return await _Call(options, chosen, target, interrupt).run(routes)


def _configure(configuration: Snapshot, options: CallOptions, account: str, address: str | None) -> None:
    configuration.set("sip.transport_list", ["udp", "tcp"])
    if address is not None:
        configuration.set("local_ip", address)
    if options.timeout is not None:
        configuration.set("sip.invite_timeout", str(options.timeout))
    if options.codecs:
        configuration.set("rtp.audio_codec_list", options.codecs)
        configuration.set_account(account, "rtp.audio_codec_list", None)


@implementer(IObserver)
class _Call:
    """One call, from its INVITE to its summary."""

    def __init__(self, options: CallOptions, account: Any, target: SIPURI, interrupt: Interrupt) -> None:
        self.options = options
        self.target = target
        self.interrupt = interrupt
        self.session = Session(account)
        self.stream = AudioStream(account)
        self.status = StatusLine()
        self.player: WavePlayer | None = None
        self.recorder: WaveRecorder | None = None
        self.statistics: dict[str, Any] | None = None
        self.codec: str | None = None
        self.remote_ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self, routes: list[Route]) -> int:
        NotificationCenter().add_observer(self, sender=self.session)
        try:
            with self.status:
                if not await self._connect(routes):
                    return INTERRUPTED
                began = time.monotonic()
                try:
                    reason = await self._talk()
                finally:
                    seconds = time.monotonic() - began
                    await self._hang_up()
            self._summarize(reason, seconds)
        finally:
            NotificationCenter().discard_observer(self, sender=self.session)
        return 0

    async def _connect(self, routes: list[Route]) -> bool:
        """Ring until the call is answered; False when the user gave up. Raises CommandError."""
        self.status.phase(f"calling {clean(self.target)} by {clean(routes[0])}")
        started = self.session.connect(ToHeader(self.target), routes, [self.stream])
        try:
            await self.interrupt.race(_finished(started))
        except Interrupted:
            self.status.phase("hanging up")
            await self.session.end()
            return False
        except SessionDidFail as error:
            raise CommandError(f"{clean(self.target)} was not reached: {_words(error)}") from error
        except SessionDidEnd as error:
            raise CommandError(f"the call ended before its audio started: {clean(error.end_reason)}") from error
        return True

    async def _talk(self) -> str:
        """Play and record until the end of the call; returns why it ended."""
        self.codec = self.stream.codec
        self.status.phase(f"connected, {clean(self.codec)}")
        watch = asyncio.create_task(self._show_statistics())
        try:
            await self._open_files()
            return await self.interrupt.race(self._end_of_call(), self.options.duration)
        except TimeoutError:
            return "the duration is over"
        except Interrupted:
            return "interrupted"
        except (SIPCoreError, OSError) as error:
            raise CommandError(f"the call was ended: {clean(error)}") from error
        finally:
            watch.cancel()

    async def _open_files(self) -> None:
        stream = self.stream
        if self.options.record is not None:
            self.recorder = WaveRecorder(stream.mixer, str(self.options.record.absolute()))
            await self.recorder.start_soon()
            heard, file = stream.producer_slot, self.recorder.consumer_slot
            if heard is not None and file is not None:
                stream.mixer.connect_slots(heard, file)
        if self.options.play is not None:
            stream.device.input_muted = True
            self.player = WavePlayer(stream.mixer, str(self.options.play))
            stream.bridge.add(self.player)
            await self.player.start()

    async def _end_of_call(self) -> str:
        """Wait for the other party to hang up, or for the end of the file when nothing else limits the call."""
        if self.player is None or self.options.duration is not None:
            return await asyncio.shield(self.remote_ended)
        player = asyncio.create_task(NotificationCenter().wait("WavePlayerDidEnd", self.player))
        try:
            await asyncio.wait((player, self.remote_ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            player.cancel()
        if self.remote_ended.done():
            return self.remote_ended.result()
        await asyncio.wait((self.remote_ended,), timeout=LAST_WORDS)
        return "the file was played"

    async def _show_statistics(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(STATUS_INTERVAL)
            statistics = await asyncio.to_thread(lambda: self.stream.statistics)
            self.status.detail(Summary(self.codec, statistics, time.monotonic() - began).line())

    async def _hang_up(self) -> None:
        if self.player is not None:
            self.player.stop()
        if self.session.state not in ("terminating", "terminated"):
            self.status.phase("hanging up")
        await self.session.end()
        if self.recorder is not None:
            await self.recorder.stop()

    def _summarize(self, reason: str, seconds: float) -> None:
        summary = Summary(self.codec, self.statistics, seconds)
        if self.options.json:
            recording = str(self.options.record) if self.options.record is not None else None
            print_json({"target": str(self.target), "ended": reason, "recording": recording, **summary.json()})
        else:
            say(f"the call ended: {reason}")
            summary.show()
        if not summary.received:
            print_warning("no audio arrived from the other party; a firewall may be in the way")

    def handle_notification(self, notification: Notification) -> None:
        match notification.name:
            case "SIPSessionGotRingIndication":
                self.status.phase("ringing")
            case "SIPSessionWillEnd":
                # The last moment at which the stream still knows its statistics.
                self.statistics = self.stream.statistics
            case "SIPSessionDidEnd" if not self.remote_ended.done():
                data = notification.data
                who = "the other party hung up" if data.originator == "remote" else clean(data.end_reason)
                self.remote_ended.set_result(who)


async def _finished(result: Any) -> Any:
    return await result


def _words(error: SessionDidFail) -> str:
    """Why a call was not answered, and what may be done about it."""
    answer = f"{error.code} {clean(error.reason)}" if error.code else clean(error.failure_reason)
    match error.code:
        case 401 | 403 | 407:
            return f"{answer}; check the password of the account"
        case 404 | 604:
            return f"{answer}; check the address"
        case 408 if error.originator == "local":
            return "no answer in time; the other party does not pick up, or cannot be reached"
        case 480 | 486 | 600 | 603:
            return f"{answer}; the other party does not take the call now"
        case 488 | 606:
            return f"{answer}; the other party wants other codecs: choose some with --codec"
        case 0:
            return f"{answer}; check the address and the network"
        case _:
            return f"{answer} ({clean(error.failure_reason)})" if error.originator == "local" else answer
