"""`sipsimple answer`: a voice server that takes every call at once, whoever is called, without an account.

It is made to be called often: nothing is printed per call unless that was asked for, and SIP messages are traced for
nobody.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.audio import AudioBridge, WavePlayer, WaveRecorder
from sipsimple.cli.checks import check_codecs, check_wave
from sipsimple.cli.config import Snapshot, stored
from sipsimple.cli.output import WRONG_USE, CommandError, clean, print_warning, say
from sipsimple.cli.running import interruptible, running
from sipsimple.cli.target import LOOPBACK
from sipsimple.cli.trace import tracing
from sipsimple.core import SIPCoreError
from sipsimple.loop import TaskOwner
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.sip.transport.address import uri_host

FIRST_RTP_PORT: Final = 50000
LAST_PORT: Final = 65535
PORTS_PER_CALL: Final = 4
"""Two for RTP and RTCP, and as many again, so that a free pair is found at the first try."""

OBJECTS_PER_COLLECTION: Final = 10_000
"""Calls make no cycles, and leave transactions for 32 s that the collector would look at in vain every few calls."""

BUSY: Final = 486

NARROWBAND: Final = ({"PCMU"}, {"PCMA"}, {"PCMU", "PCMA"})
"""Codecs with which all sound has 8000 Hz: to mix it at a higher rate would cost more than all the rest."""

_OBSERVED: Final = ("SIPSessionNewIncoming", "SIPSessionDidStart", "SIPSessionDidEnd", "SIPSessionDidFail")


class Mode(StrEnum):
    """What a caller gets."""

    ECHO = "echo"
    CONFERENCE = "conference"
    PLAY = "play"
    RECORD = "record"
    REJECT = "reject"


@dataclass
class AnswerOptions:
    """What was asked for; a port of None closes the transport, 0 takes any free port."""

    config: Path
    bind: str | None
    udp_port: int | None
    tcp_port: int | None
    mode: Mode
    file: Path | None
    directory: Path
    max_calls: int
    reject_code: int
    codecs: list[str]
    rtp_ports: str | None
    trace: frozenset[str]
    verbose: bool


async def answer(options: AnswerOptions) -> int:
    """Run the command until it is interrupted; returns the exit status."""
    configuration = _configuration(options)
    guest = configuration.add_guest(options.bind or LOOPBACK)
    _allow_open_files()
    async with interruptible() as interrupt:
        with tracing(options.trace):
            async with running(configuration) as application:
                AccountManager().catch_all = AccountManager().get_account(guest)
                # Telling every message costs as much as handling it.
                application.engine.trace_sip = "sip" in options.trace
                server = VoiceServer(options, application.voice_audio_mixer)
                server.start()
                # What exists by now lives as long as the process: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                gc.set_threshold(OBJECTS_PER_COLLECTION, *gc.get_threshold()[1:])
                _print_ready(application.engine)
                await interrupt.wait()
                server.stop_answering()
            await server.stop()
    say(server.report())
    return 0


def _configuration(options: AnswerOptions) -> Snapshot:
    check_codecs(options.codecs)
    if options.mode is Mode.PLAY:
        if options.file is None:
            raise CommandError("--mode play needs the file to play: --file FILE", WRONG_USE)
        check_wave(options.file)
    if options.mode is Mode.RECORD and not options.directory.is_dir():
        raise CommandError(f"there is no directory {clean(options.directory)}: make it, or name another with --dir")
    if options.udp_port is None and options.tcp_port is None:
        raise CommandError("without UDP and without TCP nobody can call: leave one of them open", WRONG_USE)
    configuration = Snapshot(stored(options.config))
    configuration.without_devices()
    if options.bind is not None:
        configuration.set("local_ip", options.bind)
    transports = []
    for transport, port in (("udp", options.udp_port), ("tcp", options.tcp_port)):
        if port is not None:
            transports.append(transport)
            configuration.set(f"sip.{transport}_port", str(port))
    configuration.set("sip.transport_list", transports)
    last = min(LAST_PORT, FIRST_RTP_PORT + PORTS_PER_CALL * max(100, options.max_calls))
    configuration.set("rtp.port_range", options.rtp_ports or f"{FIRST_RTP_PORT}-{last}")
    if options.codecs:
        configuration.set("rtp.audio_codec_list", options.codecs)
    if options.mode in {Mode.ECHO, Mode.CONFERENCE} and set(options.codecs) in NARROWBAND:
        configuration.set("audio.sample_rate", "8000")
    return configuration


def _print_ready(engine: Any) -> None:
    """Tell whoever started us that calls are answered, and where."""
    ports = (("udp", engine.udp_port), ("tcp", engine.tcp_port))
    address = uri_host(engine.ip_address)
    listening = [f"{transport}:{address}:{port}" for transport, port in ports if port]
    sys.stdout.write(f"ready {' '.join(listening)}\n")
    sys.stdout.flush()


def _allow_open_files() -> None:
    """Every call has two sockets; take as many as the system lets us have."""
    try:
        import resource
    except ImportError:
        return  # this system has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            print_warning(f"no more than {soft} files can be open at a time: {error}")


@implementer(IObserver)
class VoiceServer:
    """Takes the calls that the middleware announces."""

    def __init__(self, options: AnswerOptions, mixer: Any) -> None:
        self.options = options
        self.mixer = mixer
        self.answered = self.refused = self.failed = 0
        self._calls: dict[int, Any] = {}
        self._answering = True
        self._conference = AudioBridge(mixer) if options.mode is Mode.CONFERENCE else None
        self._tasks = TaskOwner("voice server")

    def start(self) -> None:
        """Answer calls from now on."""
        for name in _OBSERVED:
            NotificationCenter().add_observer(self, name=name)

    def stop_answering(self) -> None:
        """Refuse what comes from now on; the calls that are there go on."""
        self._answering = False

    async def stop(self) -> None:
        """Forget the calls, which are over by now."""
        NotificationCenter().purge_observer(self)
        self._calls.clear()
        await self._tasks.close()

    def report(self) -> str:
        """What was done, in one line."""
        return f"answered {self.answered} calls, refused {self.refused}, {self.failed} failed"

    def handle_notification(self, notification: Notification) -> None:
        session: Any = notification.sender
        match notification.name:
            case "SIPSessionNewIncoming":
                self._take(session, notification.data.streams)
            case "SIPSessionDidStart" if id(session) in self._calls:
                self.answered += 1
                self._serve(session)
            case "SIPSessionDidEnd" | "SIPSessionDidFail" if id(session) in self._calls:
                self._over(session, notification)

    def _take(self, session: Any, streams: list[Any]) -> None:
        audio = [stream for stream in streams if stream.type == "audio"][:1]
        if self.options.mode is Mode.REJECT:
            self._refuse(session, self.options.reject_code)
        elif not audio:
            self._refuse(session, 488)
        elif not self._answering or len(self._calls) >= self.options.max_calls:
            self._refuse(session, BUSY)
        else:
            self._calls[id(session)] = None
            session.accept(audio)

    def _refuse(self, session: Any, code: int) -> None:
        self.refused += 1
        session.reject(code)
        if self.options.verbose:
            say(f"{_caller(session)} refused with {code}")

    def _serve(self, session: Any) -> None:
        """Give the caller what the mode says."""
        stream = session.streams[0]
        if self.options.verbose:
            say(f"{_caller(session)} answered, {clean(stream.codec)}")
        match self.options.mode:
            case Mode.ECHO:
                slot = stream.consumer_slot
                if slot is not None:
                    self.mixer.connect_slots(slot, slot)
            case Mode.CONFERENCE if self._conference is not None:
                self._conference.add(stream)
            case Mode.PLAY:
                player = WavePlayer(self.mixer, str(self.options.file), loop_count=0)
                self._calls[id(session)] = player
                stream.bridge.add(player)
                player.start()
            case Mode.RECORD:
                recorder = WaveRecorder(self.mixer, str(_recording_path(self.options.directory, session)))
                self._calls[id(session)] = recorder
                self._tasks.spawn(self._record(session, stream, recorder))

    async def _record(self, session: Any, stream: Any, recorder: WaveRecorder) -> None:
        try:
            await recorder.start_soon()
        except (SIPCoreError, OSError) as error:
            print_warning(f"{_caller(session)} is not recorded: {clean(error)}")
            session.end()
            return
        if id(session) not in self._calls:
            # The caller was faster than the disk.
            recorder.stop()
        elif stream.producer_slot is not None and recorder.consumer_slot is not None:
            self.mixer.connect_slots(stream.producer_slot, recorder.consumer_slot)

    def _over(self, session: Any, notification: Notification) -> None:
        equipment = self._calls.pop(id(session))
        if equipment is not None:
            equipment.stop()
        data = notification.data
        if notification.name == "SIPSessionDidFail":
            self.failed += 1
            reason = data.failure_reason
        else:
            reason = data.end_reason
        if self.options.verbose:
            say(f"{_caller(session)} ended: {clean(reason)} ({clean(data.originator)})")


def _caller(session: Any) -> str:
    identity = session.remote_identity
    return clean(identity.uri) if identity is not None else "somebody"


def _recording_path(directory: Path, session: Any) -> Path:
    """A file of its own for the call: the time, and the user part of the caller with nothing odd in it."""
    user = session.remote_identity.uri.user if session.remote_identity is not None else None
    safe = "".join(character for character in user or "" if character.isalnum() or character in "-_")[:40] or "caller"
    stem = f"{session.start_time:%Y%m%d-%H%M%S-%f}-{safe}"
    return directory / f"{stem}.wav"
