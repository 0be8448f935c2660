"""Where lines come from and go to: a prompt with history and completion, or plain standard input and output."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from sipsimple.cli.lines import entered_lines
from sipsimple.cli.output import console
from sipsimple.cli.session.actions import COMMANDS
from sipsimple.cli.session.call import KINDS, kinds_of

if TYPE_CHECKING:
    from sipsimple.cli.session.client import Client


class Terminal(Protocol):
    """A place to talk with the user."""

    def show(self, line: str) -> None:
        """Print a line, wherever the cursor is."""

    def lines(self, client: Client) -> AsyncIterator[str]:
        """The lines that are entered, until there are no more."""


class PlainTerminal:
    """Standard input and output without a terminal, for scripts and tests."""

    def show(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    async def lines(self, client: Client) -> AsyncIterator[str]:
        async for line in entered_lines():
            yield line


class PromptTerminal:
    """A prompt at the bottom of the terminal; what happens is printed above it."""

    def __init__(self, *, input: Any = None, output: Any = None) -> None:
        """`input` and `output` are those of prompt_toolkit; None are those of the process."""
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession(input=input, output=output, complete_while_typing=False)

    def show(self, line: str) -> None:
        console().print(line)

    async def lines(self, client: Client) -> AsyncIterator[str]:
        from prompt_toolkit.patch_stdout import patch_stdout

        self._session.default_buffer.on_text_changed += lambda buffer: client.composing.typed(buffer.text)
        with patch_stdout(raw=True):
            while True:
                try:
                    line = await self._session.prompt_async(
                        lambda: _prompt(client),
                        completer=_completer(),
                        bottom_toolbar=lambda: _toolbar(client),
                        refresh_interval=0.5,
                        handle_sigint=False,
                    )
                except EOFError:
                    return
                except KeyboardInterrupt:
                    continue  # as in a shell: the line is given up
                yield line


def _prompt(client: Client) -> str:
    return f"{client.current.short}> " if client.current is not None else "sipsimple> "


def _toolbar(client: Client) -> str:
    """The calls, and how far the files have come."""
    parts = [f"{call.number}: {call.short} {kinds_of(call.streams)}" for call in client.calls.values()]
    parts += [progress.text() for progress in list(client.progress.values())]
    return "   ".join(parts) or "no calls; /help shows the commands"


def _completer() -> Any:
    """Completes commands, what may follow them, and the names of files."""
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    words = {"/help": list(COMMANDS), **{name: list(KINDS) for name in ("/add", "/remove", "/accept")}}
    paths = PathCompleter(expanduser=True)

    class LineCompleter(Completer):
        def get_completions(self, document: Document, complete_event: Any) -> Iterator[Completion]:
            command, blank, rest = document.text_before_cursor.partition(" ")
            if not command.startswith("/"):
                return
            if blank and command in ("/send", "/record"):
                yield from paths.get_completions(Document(rest), complete_event)
                return
            begun = rest.rpartition(" ")[2] if blank else command
            for word in words.get(command, []) if blank else [f"/{name}" for name in COMMANDS]:
                if word.startswith(begun):
                    yield Completion(word, start_position=-len(begun))

    return LineCompleter()


def open_terminal() -> Terminal:
    """A prompt where there is a terminal, else plain lines."""
    return PromptTerminal() if sys.stdin.isatty() and sys.stdout.isatty() else PlainTerminal()
