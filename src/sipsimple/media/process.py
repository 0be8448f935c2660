"""The engine in a process of its own, so that nothing the application does in its threads is heard.

The child dies with its parent, because its input ends then. When the child dies first, that is told as `EngineDied`,
and all that waits for a reply fails; a new host makes a fresh engine.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from io import BufferedReader, FileIO
from typing import Final, cast

from .commands import Command, EngineDied, Event, PlayFile, RecordFile
from .host import Host
from .pipe import BrokenMessage, packed, read_message, write
from .values import replace

END_TIMEOUT: Final = 1.0
"""Seconds for a process to end after its last event."""

# Linear algebra with threads makes the products of a tick slower, and those threads spin.
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# Writing to a pipe without waiting is not for Windows.
WRITES_AT_ONCE: Final = os.name != "nt"


class ProcessHost(Host):
    """Runs an engine in a child process."""

    def __init__(self, *, audio_backend: str | None = None) -> None:
        """`audio_backend` is one of miniaudio's names, such as `NULL`; None lets it choose."""
        super().__init__()
        self._audio_backend = audio_backend
        self._process: subprocess.Popen[bytes] | None = None
        self._events: BufferedReader | None = None
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="media-commands", daemon=True)
        self._is_over = False
        # While the thread that may wait has something to write, everything goes by it.
        self._is_behind = not WRITES_AT_ONCE

    @property
    def pid(self) -> int | None:
        """The process of the engine, None before the start."""
        return None if self._process is None else self._process.pid

    def _begin(self) -> None:
        # -P and the path: the child imports what this process would import, whatever lies in its directory.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        command = [sys.executable, "-P", "-m", "sipsimple.media.child"]
        if self._audio_backend is not None:
            command.append(self._audio_backend)
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env=environment)  # noqa: S603
        self._events = BufferedReader(cast("FileIO", self._process.stdout))
        self._commands = cast("FileIO", self._process.stdin)
        if WRITES_AT_ONCE:
            os.set_blocking(self._commands.fileno(), False)
        self._writer.start()

    def _submit(self, commands: list[Command]) -> None:
        data = packed([_with_full_path(command) for command in commands])
        if not self._is_behind:
            try:
                data = data[self._commands.write(data) or 0 :]
            except OSError:  # it died, which whoever reads its events finds out
                return
        if data:
            self._is_behind = True
            self._inbox.put(data)

    def _write(self) -> None:
        """Write what the pipe had no room for, in a thread that may wait until it has."""
        with self._commands:
            while (data := self._inbox.get()) is not None:
                try:
                    if WRITES_AT_ONCE:
                        os.set_blocking(self._commands.fileno(), True)
                    write(self._commands, data)
                except OSError:  # it died
                    return
                self._catch_up()

    def _catch_up(self) -> None:
        """Leave the writing to whoever has a command, when nothing waits any more."""
        with self._flush_lock:
            if WRITES_AT_ONCE and self._inbox.empty():
                os.set_blocking(self._commands.fileno(), False)
                self._is_behind = False

    def _next_event(self) -> Event | None:
        if self._is_over:
            return None
        try:
            event: Event = read_message(cast("BufferedReader", self._events))
        except (EOFError, OSError, BrokenMessage) as error:
            cause = self._bury(error)
            return None if self._stopping else EngineDied(cause)
        if isinstance(event, EngineDied):
            self._bury(None)
        return event

    def _bury(self, error: Exception | None) -> str:
        """See that the process ends after its last event, and tell how it did."""
        child = self._child
        self._is_over = True
        self._close_pipe()
        cast("BufferedReader", self._events).close()
        try:
            code = child.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        if isinstance(error, BrokenMessage):
            return str(error)
        ending = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"its process {child.pid} {ending}"

    def _end(self) -> None:
        self._close_pipe()

    def _close_pipe(self) -> None:
        with self._flush_lock:
            self._is_behind = True
            self._inbox.put(None)

    def _clean_up(self, limit: float) -> None:
        self._join(self._writer, limit)
        if self._deliverer.is_alive() and self._deliverer is not threading.current_thread():
            # The engine is stuck, or the observer: without the process, reading ends.
            self._child.kill()
            self._join(self._deliverer, time.monotonic() + END_TIMEOUT)

    @property
    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the host was not started")
        return self._process


def _with_full_path(command: Command) -> Command:
    """The directory of this process may change, that of the child does not."""
    if isinstance(command, PlayFile | RecordFile):
        return replace(command, path=os.path.abspath(command.path))
    return command
