"""What the command writes: text for people, JSON for programs, and the errors that end it.

Everything that came from the network or a file passes `clean` on its way to the terminal, because a display name may
hold the control characters that rewrite a screen.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot do what it was asked for; the text says why, and what to do about it."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def clean(text: object) -> str:
    """The text on one line, with every character that a terminal would not just print written as its escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def clean_lines(text: str) -> str:
    """As `clean`, with the line breaks kept."""
    return "\n".join(clean(line) for line in text.splitlines())


@cache
def console() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)


@cache
def error_console() -> Console:
    """The console for errors, warnings, traces and progress."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say(message: str, style: str | None = None) -> None:
    """One line about what is going on."""
    error_console().print(message, style=style)


def print_error(message: str) -> None:
    error_console().print(f"sipsimple: {message}", style="bold red")


def print_warning(message: str) -> None:
    error_console().print(f"sipsimple: {message}", style="yellow")


def print_json(data: Any) -> None:
    """Results for programs: one JSON document on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
