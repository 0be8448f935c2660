"""The language of `sipsimple session`: lines that begin with a slash are commands, all others are said in the chat."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sipsimple.cli.output import WRONG_USE, CommandError, clean

if TYPE_CHECKING:
    from sipsimple.cli.session.client import Client

Action = Callable[["Client", list[str]], Awaitable[None]]


class Command(NamedTuple):
    """One command: how it is written, and what it does."""

    name: str
    usage: str
    summary: str
    action: Action


def parse(line: str, known: dict[str, Command]) -> tuple[Command, list[str]]:
    """The command of a line, with its arguments; a unique beginning of a name will do. Raises CommandError."""
    try:
        name, *arguments = shlex.split(line.strip().removeprefix("/"))
    except ValueError as error:
        raise CommandError(f"the line cannot be read: {error}", WRONG_USE) from error
    found = [known[name]] if name in known else [command for key, command in known.items() if key.startswith(name)]
    if len(found) != 1:
        meant = ", ".join(f"/{command.name}" for command in found) or "nothing that begins so; /help lists them"
        raise CommandError(f"/{clean(name)} means {meant}", WRONG_USE)
    return found[0], arguments


def help_text(known: dict[str, Command], name: str | None = None) -> list[str]:
    """What the commands do, a line each; `name` asks for one of them. Raises CommandError."""
    if name is not None:
        command, _ = parse(name, known)
        return [f"/{command.name} {command.usage}".rstrip(), f"  {command.summary}"]
    width = max(len(f"/{command.name} {command.usage}") for command in known.values())
    return [f"{f'/{command.name} {command.usage}':<{width}}  {command.summary}" for command in known.values()] + [
        "any other line is said in the chat of the current call"
    ]


class Table:
    """Collects commands by decoration."""

    def __init__(self) -> None:
        self.commands: Final[dict[str, Command]] = {}

    def __call__(self, name: str, usage: str = "") -> Callable[[Action], Action]:
        """Register the coroutine function under this name; its docstring is the summary."""

        def register(action: Action) -> Action:
            summary = (action.__doc__ or "").splitlines()[0]
            self.commands[name] = Command(name, usage, summary, action)
            return action

        return register
