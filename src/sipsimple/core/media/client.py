"""The one place that talks to the media engine: commands go through here, and events come back to their objects.

The engine does not know the objects of the core, only numbers; `MediaClient` gives the numbers out and keeps, by weak
reference, which object an event is for. Events are handed on in the loop thread. An error of the engine is translated
here into the errors of the core, once.

When the engine dies, what it did for calls and files ends with an error, and a fresh one is started at once, in which
the mixers are what they were before; `MediaEngineDidFail` tells of it. An engine that dies again and again stays down.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

from sipsimple.core.media.ready_ports import ReadyPorts
from sipsimple.core.notices import post
from sipsimple.loop import bound_loop, run_in_loop, running_bound_loop
from sipsimple.media import commands
from sipsimple.media.errors import (
    CommandError,
    EngineStopped,
    MediaError,
    PortsExhausted,
    WaveError,
)
from sipsimple.media.libraries import available_codecs
from sipsimple.singleton import Singleton
from sipsimple.sip.errors import OS_ERROR_BASE, PJSIPError, SIPCoreError

if TYPE_CHECKING:
    from sipsimple.core.media.mixer import AudioMixer

log = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = 5.0  # seconds that a blocking method waits for the engine; it answers within a tick of 20 ms
DEVICE_TIMEOUT: Final = 15.0  # opening sound hardware takes its time
FLUSH_DELAY: Final = 0.01
"""Seconds that a command may wait for others: less than a tick of the engine, whose waking costs more than commands."""

DEFAULT_PORT_RANGE: Final = (40000, 40100)

MAX_RESTARTS: Final = 5
"""How often the engine is started again within `RESTART_PERIOD`; one that dies more often stays down."""
RESTART_PERIOD: Final = 60.0  # seconds

INVALID_VALUE: Final = 70004
NOT_FOUND: Final = 70006
TOO_MANY: Final = 70010


class _Timer(NamedTuple):
    loop: asyncio.AbstractEventLoop
    handle: asyncio.TimerHandle


_STREAM_COMMANDS: Final = (commands.StartStream, commands.UpdateStream)
"""Those whose refusal the stream has to be told of."""


class Host(Protocol):
    """What runs the media engine: a thread or a process."""

    on_event: Callable[[Any], None] | None
    schedule: Callable[[bool], object]

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def post(self, command: commands.Command) -> None: ...
    def request(self, command: commands.Command) -> Future[Any]: ...
    def flush(self) -> None: ...


class Listener(Protocol):
    """An object that events of the engine may be for."""

    def handle_media_event(self, event: Any) -> None:
        """Take one event; runs in the loop thread."""

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """Let go of what was in the engine; returns what tells of it, to be called when there is a fresh one."""


def default_host() -> Host:
    """An engine in a process of its own, where nothing that the application does is heard.

    `SIPSIMPLE_MEDIA_HOST=thread` in the environment puts it into a thread, for debugging; so does a program that was
    frozen into one file, which has no interpreter to start.
    """
    from sipsimple.media.host import ThreadHost
    from sipsimple.media.process import ProcessHost

    in_thread = os.environ.get("SIPSIMPLE_MEDIA_HOST") == "thread" or getattr(sys, "frozen", False)
    return ThreadHost() if in_thread else ProcessHost()


class MediaClient(metaclass=Singleton):
    """The engine as the core sees it. The first mixer or transport starts it, and it ends with `stop()`.

    What is left over from before a stop does not start it again: it has nothing there any more.

    `voice_mixer` is the mixer that the application made, for whoever plays or captures sound by default. `port_range`
    and `codecs` are the defaults of RTP and audio transports.
    """

    host_factory: ClassVar[Callable[[], Host]] = default_host

    def __init__(self) -> None:
        self.voice_mixer: AudioMixer | None = None
        self.port_range: tuple[int, int] = DEFAULT_PORT_RANGE
        self.known_devices: commands.DeviceNames | None = None
        self.on_devices_changed: Callable[[commands.DeviceNames, commands.DeviceNames], None] | None = None
        self._codecs: list[str] | None = None
        self._host: Host | None = None
        self._ids = itertools.count(1)
        self._listeners: weakref.WeakValueDictionary[Hashable, Listener] = weakref.WeakValueDictionary()
        self._mixers: weakref.WeakSet[AudioMixer] = weakref.WeakSet()
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS + 1)
        self._death = ""  # why the engine does not run, when it should
        self._lock = threading.Lock()
        self._flush_timer: _Timer | None = None
        self.ready_ports = ReadyPorts(self)

    @property
    def running(self) -> bool:
        host = self._host
        return host is not None and host.running

    @property
    def available_codecs(self) -> list[str]:
        """Names of the codecs that this installation has, best first."""
        return available_codecs()

    @property
    def codecs(self) -> list[str]:
        """Names of the codecs that audio transports offer unless told otherwise, in the order of preference."""
        return self.available_codecs if self._codecs is None else list(self._codecs)

    @codecs.setter
    def codecs(self, names: list[str]) -> None:
        self._codecs = list(names)

    def start(self) -> None:
        """Start the engine unless it runs; raises SIPCoreError. Blocks for as long as starting a process takes.

        One that has died is started by nobody but this object, unless it stays down: then `stop` comes first.
        """
        with self._lock:
            if self.running:
                return
            if self._host is not None:
                raise SIPCoreError(self._death or "the media engine died and is being started again: try once more")
            self._start()

    def _start(self) -> None:
        host = type(self).host_factory()
        host.on_event = self._on_event
        host.schedule = self._schedule_flush
        try:
            host.start()
        except (MediaError, OSError) as error:
            raise SIPCoreError(f"the media engine does not start: {error}") from error
        self._host = host
        self.ready_ports = ReadyPorts(self)

    def stop(self) -> None:
        """End the engine; mixers, transports and files are closed with it. Idempotent and bounded in time."""
        with self._lock:
            host, self._host = self._host, None
            self.voice_mixer = self.known_devices = None
            self._death = ""
            self._deaths.clear()
        if host is not None:
            host.stop()

    def devices(self) -> commands.DeviceNames:
        """The sound devices of the system, the default ones first; blocks while the system is asked."""
        self.start()
        names: commands.DeviceNames = self.call(commands.ListDevices(), DEVICE_TIMEOUT)
        return names

    def new_id(self) -> int:
        return next(self._ids)

    def listen(self, key: Hashable, listener: Listener) -> None:
        """Hand the events about `key` (an id, or (mixer, slot) for tones) to this object, as long as it lives."""
        self._listeners[key] = listener

    def keep(self, mixer: AudioMixer) -> None:
        """Have the mixer revived in a fresh engine when this one dies, as long as it lives."""
        self._mixers.add(mixer)

    def ignore(self, key: Hashable) -> None:
        """Undo `listen`."""
        self._listeners.pop(key, None)

    def post(self, command: commands.Command) -> None:
        """Have the command obeyed some time soon; raises SIPCoreError when the engine does not run."""
        try:
            self._running_host().post(command)
        except MediaError as error:
            raise translate(error) from error

    def dismiss(self, command: commands.Command) -> None:
        """Post a command that frees something; without an engine there is nothing left to free."""
        host = self._host
        if host is not None and host.running:
            try:
                host.post(command)
            except EngineStopped:
                # It stopped between the question and the command, and freed everything.
                return

    def request(self, command: commands.Command) -> Future[Any]:
        """Have the command obeyed; the future has the reply, or fails with a MediaError (see `translate`)."""
        try:
            return self._running_host().request(command)
        except MediaError as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def call(self, command: commands.Command, timeout: float = REQUEST_TIMEOUT) -> Any:
        """Block until the command is obeyed and return the reply; raises SIPCoreError."""
        return self.result(self.request(command), timeout)

    def result(self, future: Future[Any], timeout: float = REQUEST_TIMEOUT) -> Any:
        """Block for the reply of a request; raises SIPCoreError."""
        self._flush()
        try:
            return future.result(timeout)
        except MediaError as error:
            raise translate(error) from error
        except TimeoutError:
            raise SIPCoreError(f"the media engine did not answer within {timeout:g} seconds") from None

    async def acall(self, command: commands.Command) -> Any:
        """Await the reply to the command; raises SIPCoreError."""
        try:
            return await asyncio.wrap_future(self.request(command))
        except MediaError as error:
            raise translate(error) from error

    def settle(self, future: Future[Any], then: Callable[[Any, SIPCoreError | None], object]) -> None:
        """Call `then(reply, error)` in the loop thread when the request is settled."""

        def settled(future: Future[Any]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self._deliver(then, future.result(), None)
            else:
                self._deliver(then, None, translate(error))

        future.add_done_callback(settled)

    def _schedule_flush(self, urgent: bool) -> None:
        """Have the commands of some milliseconds go out together, at once where somebody waits for the outcome."""
        loop = running_bound_loop()
        if loop is None or urgent:
            self._flush()
        elif self._flush_timer is None or self._flush_timer.loop is not loop:
            self._flush_timer = _Timer(loop, loop.call_later(FLUSH_DELAY, self._flush))

    def _flush(self) -> None:
        # A timer that is running already is left to run: it finds nothing more to do, and threads may not stop it.
        self._flush_timer = None
        host = self._host
        if host is not None:
            host.flush()

    def _running_host(self) -> Host:
        host = self._host
        if host is None:
            raise EngineStopped
        return host

    def _on_event(self, event: Any) -> None:
        self._deliver(self._dispatch, event)

    def _deliver(self, function: Callable[..., object], *args: Any) -> None:
        try:
            bound_loop()
        except RuntimeError:
            # Mixers and files are of use without the middleware, too; then the engine's own thread brings the news.
            function(*args)
        else:
            run_in_loop(function, *args)

    def _dispatch(self, event: Any) -> None:
        if isinstance(event, commands.EngineDied):
            self._died(event.reason)
        elif isinstance(event, commands.CommandFailed) and isinstance(event.command, _STREAM_COMMANDS):
            self._tell(event.command.stream, event)
        elif isinstance(event, commands.CommandFailed):
            log.warning("the media engine refused %r: %s", event.command, event.error)
        elif isinstance(event, commands.DevicesChanged):
            self._devices_changed(event)
        elif isinstance(event, commands.PCMTicked):
            for report in event.reports:
                self._tell(report.pcm, report)
        else:
            self._tell(_key(event), event)

    def _died(self, reason: str) -> None:
        host = self._host
        if host is None or host.running:
            return  # it was stopped meanwhile, or that was one before
        log.error("the media engine died: %s", reason)
        host.stop()
        cause = f"the media engine died: {reason.rstrip().rpartition(chr(10))[2]}"
        listeners = {id(listener): listener for listener in list(self._listeners.values())}
        news = [listener.engine_died(cause) for listener in listeners.values()]
        self._start_again(cause)
        post("MediaEngineDidFail", self, reason=reason, restarted=self.running)
        for tell in news:
            if tell is not None:
                tell()

    def _start_again(self, cause: str) -> None:
        """Have a fresh engine with the mixers of the last one, unless that died too often."""
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) > MAX_RESTARTS and now - self._deaths[0] < RESTART_PERIOD:
            self._death = (
                f"{cause}; it stays down, since it died {len(self._deaths)} times within {RESTART_PERIOD:g} seconds: "
                "stop the application and start it again"
            )
            log.error("%s", self._death)
            return
        try:
            with self._lock:
                self._start()
        except SIPCoreError as error:
            self._death = f"{cause}; {error}"
            log.error("%s", self._death)
            return
        # One that dies at once tells so, and then they are revived in the next one.
        with suppress(SIPCoreError):
            for mixer in list(self._mixers):
                mixer.revive()

    def _devices_changed(self, event: commands.DevicesChanged) -> None:
        # A fresh engine begins without knowing what was there before it.
        old, self.known_devices = self.known_devices or event.old, event.new
        if old is not None and old != event.new and self.on_devices_changed is not None:
            self.on_devices_changed(old, event.new)

    def _tell(self, key: Hashable, event: Any) -> None:
        listener = self._listeners.get(key)
        if listener is not None:
            listener.handle_media_event(event)


def translate(error: BaseException) -> SIPCoreError:
    """The error of the core that tells of an error of the engine."""
    if isinstance(error, PortsExhausted):
        return PJSIPError(str(error), OS_ERROR_BASE + errno.EADDRINUSE)
    if isinstance(error, WaveError):
        return PJSIPError(str(error), INVALID_VALUE if os.path.exists(error.path) else NOT_FOUND)
    if isinstance(error, CommandError):
        return PJSIPError(str(error), INVALID_VALUE)
    return SIPCoreError(str(error))


def _key(event: Any) -> Hashable:
    match event:
        case commands.PlaybackEnded():
            return event.player
        case commands.RecordingFailed():
            return event.recorder
        case commands.TonesEnded():
            return (event.mixer, event.slot)
        case commands.DeviceFailed():
            return event.mixer
        case commands.DTMFReceived() | commands.MediaTimeout():
            return event.stream
        case commands.FirstPacketReceived() | commands.RemoteAddressChanged():
            return event.stream
        case commands.ConsentChanged():
            return event.transport
        case commands.StreamSecured() | commands.StreamSecurityFailed():
            return event.stream
        case _:
            return None
