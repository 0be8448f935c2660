"""Runs programs for tests: their output is read as it comes, waited for with a time limit, and shown when one fails."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

import pytest

STOP_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.02
SHOWN_LINES: Final = 60


def need(program: str, package: str) -> str:
    """The path of a program; skips the test when it is not installed."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return path


class Program:
    """A program that runs while its `async with` block does; `lines` is everything that it said so far.

    With `typing`, `type` enters lines into its standard input, which is empty otherwise.
    """

    def __init__(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        typing: bool = False,
    ) -> None:
        self.command = [str(part) for part in command]
        self.name = Path(self.command[0]).name
        self.lines: list[str] = []
        self._cwd = cwd
        self._environment = {**os.environ, **(environment or {})}
        self._typing = typing
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]
        self._progress = asyncio.Condition()
        self._silent = False

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE if self._typing else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._cwd,
            env=self._environment,
            # A group of its own, so that its children end with it.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(65536):
            # Progress displays write over their line.
            *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
            self.lines += [text for line in whole if (text := _plain(line))]
            async with self._progress:
                self._progress.notify_all()
        self.lines += [_plain(rest)] if rest else []
        async with self._progress:
            self._silent = True
            self._progress.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def output(self) -> str:
        """The end of what it said, for the message of a failed test."""
        return "\n".join([f"--- {' '.join(self.command)}", *self.lines[-SHOWN_LINES:]])

    async def line(self, pattern: str, timeout: float = 10.0, after: int = 0) -> re.Match[str]:
        """Wait until a line (from the number `after` on) matches; fails the test when that does not happen in time."""
        position = after
        try:
            async with asyncio.timeout(timeout), self._progress:
                while True:
                    while position < len(self.lines):
                        if match := re.search(pattern, self.lines[position]):
                            return match
                        position += 1
                    if self._silent:
                        break
                    await self._progress.wait()
        except TimeoutError:
            pytest.fail(f"{self.name} did not say {pattern!r} in {timeout} s\n{self.output}")
        pytest.fail(f"{self.name} ended without saying {pattern!r}\n{self.output}")

    async def type(self, line: str) -> None:
        """Enter a line."""
        assert self._process.stdin is not None, "the program was started without typing"
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    def end_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None, "the program was started without typing"
        self._process.stdin.close()

    async def ended(self, timeout: float) -> int:
        """Wait for its end and return the exit status; fails the test when it runs longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._reader
                return await self._process.wait()
        except TimeoutError:
            pytest.fail(f"{self.name} still ran after {timeout} s\n{self.output}")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to end, and see to it that it does; returns the exit status."""
        if self.running:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self.lines.append(f"(did not end {STOP_TIMEOUT} s after SIGTERM, and was killed)")
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._reader
        return await self._process.wait()


def _plain(line: bytes) -> str:
    """The text without colours and blanks around it."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line.decode("utf-8", "replace")).strip()


async def until(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait until the condition holds, where nothing tells when it does; fails the test when that takes too long."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        pytest.fail(f"{what} did not happen in {timeout} s")
