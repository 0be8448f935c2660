"""`sipsimple session`: two people at two terminals."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.programs import Program

LIMIT = 40.0


class Person(Program):
    """A running client, and the address to call it."""

    address = ""
    _heard = 0

    async def hears(self, pattern: str) -> None:
        """Wait for a line after those that were waited for before."""
        match = await self.line(pattern, timeout=LIMIT, after=self._heard)
        self._heard = self.lines.index(match.string, self._heard) + 1


@asynccontextmanager
async def person(directory: Path, *options: str) -> AsyncIterator[Person]:
    command = (sys.executable, "-m", "sipsimple.cli", "--config", directory / "config", "session")
    common = ("--bind", "127.0.0.1", "--no-sound", "--downloads", directory / "downloads")
    async with Person(*command, *common, *options, typing=True) as program:
        ready = await program.line(r"^ready: (sip:\S+) as", timeout=LIMIT)
        program.address = ready[1]
        yield program


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[tuple[Person, Person]]:
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
    async with person(tmp_path / "alice") as alice, person(tmp_path / "bob") as bob:
        yield alice, bob


async def test_a_call_with_chat_a_file_hold_and_digits(people, tmp_path):
    alice, bob = people
    await alice.type(f"/call {bob.address} audio chat")
    await bob.hears("calls: audio, chat; /accept")
    await alice.hears("ringing")
    await bob.type("/accept")
    await alice.hears("connected with audio, chat")
    await bob.hears("connected with audio, chat")
    await alice.type("good morning")
    await bob.hears(r"guest: good morning$")
    await bob.type("hello, \u263a")
    await alice.hears("hello, \u263a")
    await alice.type("/dtmf 4#")
    await bob.hears("pressed 4")
    await bob.hears("pressed #")
    await bob.type("/hold")
    await alice.hears("put the call on hold")
    await bob.type("/unhold")
    await alice.hears("put the call out of hold")

    data = os.urandom(300_000)
    (tmp_path / "notes.bin").write_bytes(data)
    await alice.type(f"/send {tmp_path / 'notes.bin'}")
    await bob.hears(r"proposes file notes.bin, 300.0 kB; /accept")
    await bob.type("/acc file")
    await bob.hears(r"file notes.bin, 300.0 kB was received as \S+/downloads/notes.bin")
    await alice.hears(r"file notes.bin, 300.0 kB was sent")
    received = (tmp_path / "bob" / "downloads" / "notes.bin").read_bytes()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()

    await alice.type("/remove chat")
    await bob.hears("without chat now")
    await alice.type("still there?")
    await alice.hears("^! there is no chat")
    await bob.type("/status")
    await bob.hears(r"audio: \w+ +sent \d+")
    await bob.type("/hangup")
    await alice.hears("the other party hung up")
    for one in people:
        await one.type("/quit")
    assert [await one.ended(LIMIT) for one in people] == [0, 0]


async def test_refusals_and_mistakes_are_told(people):
    alice, bob = people
    await alice.type(f"/call {bob.address} chat")
    await bob.hears("calls: chat")
    await bob.type("/reject 486")
    await alice.hears("no call, 486 Busy Here")
    for line, answer in (
        ("/hangup", "there is no call"),
        ("/fly away", "means nothing that begins so"),
        ("/h", "means /hangup, /hold, /help"),
        ("/call", "whom"),
        ("/call nobody@127.0.0.1:1 video", "is no stream"),
        ("/send /nowhere/at/all", "there is no call"),
        ('/call "', "cannot be read"),
        ("/switch 7", "no call 7"),
    ):
        await alice.type(line)
        await alice.hears(f"^! .*{answer}")
    await alice.type("/help dtmf")
    await alice.hears("/dtmf DIGITS")
    await alice.hears("tones of telephone keys")
    await alice.type("/quit")
    assert await alice.ended(LIMIT) == 0


async def test_a_script_calls_says_something_and_ends_when_the_other_one_hangs_up(tmp_path):
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
    async with person(tmp_path / "bob", "--auto-accept") as bob, person(tmp_path / "alice") as alice:
        await alice.type(f"/call {bob.address} chat")
        await alice.hears("connected with chat")
        await alice.type("that is all")
        await bob.hears("that is all")
        alice.end_input()
        await bob.type("/hangup")
        assert await alice.ended(LIMIT) == 0
