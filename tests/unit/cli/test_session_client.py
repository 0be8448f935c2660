"""The parts of `sipsimple session`: its language, the prompt, progress of files, and who is told of typing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from sipsimple.cli.output import CommandError
from sipsimple.cli.session import composing as composing_module
from sipsimple.cli.session.actions import COMMANDS, desktop_address
from sipsimple.cli.session.call import KINDS, describe, kind_of, size_text
from sipsimple.cli.session.commands import help_text, parse
from sipsimple.cli.session.composing import Composing
from sipsimple.cli.session.progress import FileProgress
from sipsimple.cli.session.terminal import PromptTerminal, _completer
from sipsimple.loop import TaskOwner


def test_a_line_is_a_command_with_arguments():
    command, arguments = parse('/send "my notes.txt" bob@example.com', COMMANDS)
    assert (command.name, arguments) == ("send", ["my notes.txt", "bob@example.com"])
    assert parse("/tra bob", COMMANDS)[0].name == "transfer"
    assert parse("/call x", COMMANDS)[0].name == "call"  # although /calls begins so, too


@pytest.mark.parametrize(
    ("line", "words"), [("/re", "/reject, /remove, /record"), ("/walk", "nothing that begins so"), ('/x "', "read")]
)
def test_what_is_no_command_says_why(line, words):
    with pytest.raises(CommandError, match=words):
        parse(line, COMMANDS)


def test_help_names_every_command_and_what_it_does():
    lines = help_text(COMMANDS)
    assert len(lines) == len(COMMANDS) + 1
    assert all(command.summary.endswith(".") for command in COMMANDS.values())
    assert "/dtmf DIGITS" in help_text(COMMANDS, "dtmf")[0]


def test_desktops_have_addresses():
    assert desktop_address("localhost") == ("localhost", 5900)
    assert desktop_address("[::1]:5901") == ("::1", 5901)
    with pytest.raises(CommandError, match="HOST:PORT"):
        desktop_address("host:port")


def test_streams_in_words():
    file = SimpleNamespace(type="file-transfer", file_selector=SimpleNamespace(name="a\x1b.txt", size=1500))
    assert describe(file) == "file a\\x1b.txt, 1.5 kB"
    assert kind_of(SimpleNamespace(type="video")) == "video"
    assert [size_text(size) for size in (1, 999, 1000, 2.5e6, 3e12)] == [
        "1 bytes", "999 bytes", "1.0 kB", "2.5 MB", "3000.0 GB",
    ]  # fmt: skip


def test_a_file_that_was_resumed_counts_only_what_is_new_as_speed():
    stream = SimpleNamespace(file_selector=SimpleNamespace(name="big", size=1000))
    progress = FileProgress(stream)
    progress.reached(900, 1000)
    assert progress.speed == 0.0
    progress.reached(1000, 1000)
    assert progress.percent == 100
    assert "big ████████████████████ 100 %" in progress.text()


class Chat:
    def __init__(self):
        self.told = []
        self.idle = asyncio.Event()

    def send_composing_indication(self, state, refresh):
        self.told.append(state)
        if state == "idle":
            self.idle.set()


async def test_typing_is_told_once_until_it_stops(monkeypatch):
    monkeypatch.setattr(composing_module, "IDLE_AFTER", 0.05)
    chat, tasks = Chat(), TaskOwner("typing")
    composing = Composing(lambda: chat, tasks)
    for text in ("h", "he", "hel"):
        composing.typed(text)
    assert chat.told == ["active"]
    composing.sent()
    composing.typed("/call somebody")
    assert chat.told == ["active"]
    composing.typed("again")
    await asyncio.wait_for(chat.idle.wait(), 5)
    assert chat.told == ["active", "active", "idle"]
    composing.typed("x")
    composing.typed("")
    assert chat.told[-2:] == ["active", "idle"]
    await tasks.close()


async def test_the_prompt_reads_lines_and_tells_of_typing():
    typed = []
    client = SimpleNamespace(current=None, calls={}, progress={}, composing=SimpleNamespace(typed=typed.append))
    with create_pipe_input() as keys:
        terminal = PromptTerminal(input=keys, output=DummyOutput())
        keys.send_text("hello\r/calls\r\x04")
        async with asyncio.timeout(20):
            lines = [line async for line in terminal.lines(client)]
    assert lines == ["hello", "/calls"]
    assert "hello" in typed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/ha", ["/hangup"]),
        ("/add ", list(KINDS)),
        ("/accept audio ch", ["chat"]),
        ("/help dt", ["dtmf"]),
        ("hello", []),
    ],
)
def test_lines_are_completed(text, words):
    found = _completer().get_completions(Document(text), CompleteEvent())
    assert [completion.text for completion in found] == words


def test_names_of_files_are_completed(tmp_path):
    (tmp_path / "notes.txt").touch()
    (found,) = _completer().get_completions(Document(f"/send {tmp_path}/no"), CompleteEvent())
    assert found.text == "tes.txt"
