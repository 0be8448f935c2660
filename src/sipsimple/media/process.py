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
from .pipe import BrokenMessage, packed, read_message, waiting, write
from .values import replace

END_TIMEOUT: Final = 1.0
"""Seconds for a process to end after its last event."""

# Linear algebra with threads makes the products of a tick slower, and those threads spin.
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


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
        self._writer.start()

    def _submit(self, command: Command) -> None:
        if isinstance(command, PlayFile | RecordFile):
            # The directory of this process may change, that of the child does not.
            command = replace(command, path=os.path.abspath(command.path))
        self._inbox.put(packed(command))

    def _write(self) -> None:
        """Write the commands in a thread of their own: a pipe may be full."""
        pipe = cast("FileIO", self._child.stdin)
        with pipe:
            while (data := self._inbox.get()) is not None:
                messages = waiting(self._inbox, data)
                try:
                    write(pipe, b"".join([message for message in messages if message is not None]))
                except OSError:  # it died, which whoever reads its events finds out
                    return
                if messages[-1] is None:
                    return

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
        self._inbox.put(None)
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
