"""Players and recorders: sound files at the pace of the tick, with all reading and writing in threads of their own.

The tick never waits for a disk. A player takes samples that were read ahead; when they run out it plays silence and
counts it. A recorder hands its samples over; when the disk is more than `MAX_BACKLOG` seconds behind, samples are
dropped and counted, and the file gets silence in their place, so that its clock stays right.

Between the tick and the worker pass only deques, and numbers that one side alone writes: neither locks the other out.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from .commands import Recording
from .errors import MediaError, RecordingError
from .sample_queue import SampleQueue
from .wave import RateConverter, Samples, WaveReader, WaveWriter

log = logging.getLogger(__name__)

READ_AHEAD: Final = 10.0  # seconds; shorter files are decoded whole
READ_BLOCK: Final = 1.0  # seconds
WRITE_BLOCK: Final = 0.2  # seconds
MAX_BACKLOG: Final = 10.0  # seconds


class FileWorker:
    """A thread that runs jobs one after another; started by the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # a defect in one job must not silence all other files
                log.exception("%s: a job failed", self._name)

    def close(self, timeout: float) -> None:
        """End the thread after the jobs it has; waits `timeout` seconds at most, for a disk may hang."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("%s still waits for the disk; it is left behind", self._name)
            self._thread = None


class Player:
    """A file as frames at the mixer's rate, read ahead by the worker."""

    def __init__(self, path: str, sample_rate: int, worker: FileWorker) -> None:
        self._path = path
        self._rate = sample_rate
        self._worker = worker
        self._queue = SampleQueue()
        self._decoded = 0  # written by the worker
        self._played = 0  # written by the tick
        self._reading = True  # set by the tick, cleared by the worker; while set the reader is the worker's
        self._complete = False
        self._reader: WaveReader | None = None
        self.error: MediaError | None = None
        self.missed = 0

    def open(self, done: Callable[[MediaError | None], None]) -> None:
        """Open the file and decode its first block in the worker, which then calls `done(error)`."""

        def job() -> None:
            try:
                self._reader = WaveReader(self._path)
                self._converter = RateConverter(self._reader.sample_rate, self._rate)
                self._read_block()
            except MediaError as error:
                done(error)
            else:
                done(None)

        self._worker.submit(job)

    def _read_block(self) -> None:
        """Decode one more block; runs in the worker."""
        if self._reader is None:
            return
        wanted = int(READ_BLOCK * self._reader.sample_rate)
        try:
            samples = self._reader.read(wanted)
        except MediaError as error:
            self.error = error
            samples = np.zeros(0, np.int16)
        last = len(samples) < wanted
        for block in (self._converter.convert(samples), self._converter.flush() if last else None):
            if block is not None and block.size:
                self._queue.append(block)
                self._decoded += len(block)
        # The order matters: who sees `complete` sees all the blocks.
        self._complete = last
        self._reading = False
        if self._complete:
            self._close_reader()

    @property
    def ended(self) -> bool:
        """Whether every sample was taken."""
        return self._complete and self._played == self._decoded

    def fill(self, frame: Samples) -> None:
        """Take the next samples; silence where there are none."""
        filled = self._queue.take(frame)
        self._played += filled
        if filled < len(frame) and not self._complete:
            self.missed += len(frame) - filled
        if not (self._reading or self._complete) and self._decoded - self._played < READ_AHEAD * self._rate:
            self._reading = True
            self._worker.submit(self._read_block)

    def close(self) -> None:
        """Close the file after what the worker is doing with it."""
        self._worker.submit(self._close_reader)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class Recorder:
    """A file that frames at the mixer's rate go into, written by the worker; channels are interleaved."""

    def __init__(self, path: str, sample_rate: int, worker: FileWorker, channels: int = 1) -> None:
        self._path = path
        self._sample_rate = sample_rate
        self._channels = channels
        self._rate = sample_rate * channels
        self._worker = worker
        self._block: Samples = np.zeros(int(WRITE_BLOCK * sample_rate) * channels, np.int16)
        self._filled = 0
        self._gap = 0  # dropped samples since the last block that was handed over
        self._dropped = 0
        self._handed_over = 0  # written by the tick
        self._written = 0  # written by the worker
        self._queue: deque[tuple[int, Samples]] = deque()
        self._writer: WaveWriter | None = None
        self._error: MediaError | None = None

    def open(self, done: Callable[[MediaError | None], None], failed: Callable[[MediaError], None]) -> None:
        """Create the file in the worker, which then calls `done(error)`, and `failed(error)` if writing fails later."""
        self._failed = failed

        def job() -> None:
            try:
                self._writer = WaveWriter(self._path, self._sample_rate, self._channels)
            except MediaError as error:
                self._error = error
            done(self._error)

        self._worker.submit(job)

    def push(self, frame: Samples) -> None:
        """Record a frame; never blocks."""
        while frame.size:
            piece = frame[: len(self._block) - self._filled]
            self._block[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            frame = frame[len(piece) :]
            if self._filled == len(self._block):
                self._hand_over()

    def _hand_over(self) -> None:
        size, self._filled = self._filled, 0
        if self._error is not None:
            return
        if self._handed_over - self._written > MAX_BACKLOG * self._rate:
            self._gap += size
            self._dropped += size
            return
        self._queue.append((self._gap, self._block[:size].copy()))
        self._handed_over += self._gap + size
        self._gap = 0
        self._worker.submit(self._write_block)

    def _write_block(self) -> None:
        """Write the oldest block after the silence that stands for what was dropped; runs in the worker."""
        gap, block = self._queue.popleft()
        if self._error is None and self._writer is not None:
            try:
                self._write_silence(self._writer, gap)
                self._writer.write(block)
            except MediaError as error:
                self._error = error
                self._failed(error)
        self._written += gap + len(block)

    def _write_silence(self, writer: WaveWriter, count: int) -> None:
        while count > 0:
            writer.write(np.zeros(min(count, self._rate), np.int16))
            count -= self._rate

    def close(self, done: Callable[[Recording | None, MediaError | None], None]) -> None:
        """Write what is left and complete the file in the worker, which then calls `done(recording, error)`."""
        if self._filled:
            self._hand_over()
        gap = self._gap

        def job() -> None:
            try:
                done(self._complete(gap), None)
            except MediaError as error:
                done(None, error)

        self._worker.submit(job)

    def _complete(self, gap: int) -> Recording:
        if self._writer is None:
            raise self._error or RecordingError(self._path, "was never opened")
        try:
            if self._error is not None:
                raise self._error
            self._write_silence(self._writer, gap)
        finally:
            self._writer.close()
        duration = self._writer.sample_count / self._rate
        return Recording(self._path, duration, dropped=self._dropped / self._rate)
