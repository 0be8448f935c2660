"""A media engine for tests that obeys every command at once, remembers it, and says what the test wants."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from sipsimple.core.media.client import MediaClient
from sipsimple.media import commands
from sipsimple.media.errors import EngineStopped, MediaError


class FakeHost:
    """Replies as the engine would.

    `reply[CommandClass]` is the answer to such commands, `refuse[CommandClass]` the error that they fail with; those
    whose class is in `hold` wait for `release()`.
    """

    def __init__(self) -> None:
        self.running = False
        self.on_event = lambda event: None
        self.commands: list[commands.Command] = []
        self.reply: dict[type, Any] = {}
        self.refuse: dict[type, MediaError] = {}
        self.hold: set[type] = set()
        self.held: list[tuple[Future[Any], commands.Command]] = []
        self.statistics = {"rtt": {}, "rx": {"packets": 1}, "tx": {"packets": 2}}
        self._port = 50000
        self._answering = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def post(self, command: commands.Command) -> None:
        if not self.running:
            raise EngineStopped
        self.commands.append(command)
        if not self._answering and type(command) in self.refuse:
            self.on_event(commands.CommandFailed(command, self.refuse[type(command)]))

    def flush(self) -> None:
        """Every command is obeyed at once."""

    def request(self, command: commands.Command) -> Future[Any]:
        self._answering = True
        try:
            self.post(command)
        finally:
            self._answering = False
        future: Future[Any] = Future()
        if type(command) in self.hold:
            self.held.append((future, command))
        else:
            self._settle(future, command)
        return future

    def release(self) -> None:
        """Answer what was held."""
        held, self.held = self.held, []
        for future, command in held:
            self._settle(future, command)

    def _settle(self, future: Future[Any], command: commands.Command) -> None:
        if type(command) in self.refuse:
            future.set_exception(self.refuse[type(command)])
        else:
            future.set_result(self._reply(command))

    def _reply(self, command: commands.Command) -> Any:
        if type(command) in self.reply:
            return self.reply[type(command)]
        match command:
            case commands.SetDevices():
                return commands.RealDevices(command.input, command.output)
            case commands.OpenTransport():
                self._port += 2
                return commands.LocalAddress(command.address, self._port - 2, self._port - 1)
            case commands.OpenTransports():
                return ()
            case commands.StreamStatistics() | commands.StopStream():
                return self.statistics
            case _:
                return None

    def sent(self, kind: type) -> list[Any]:
        """The commands of this class, in order."""
        return [command for command in self.commands if type(command) is kind]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch):
    """The media engine of a fresh `MediaClient`."""
    fake = FakeHost()
    monkeypatch.setattr(MediaClient, "host_factory", lambda: fake)
    monkeypatch.setattr(MediaClient, "_instances", {})
    monkeypatch.setattr(MediaClient, "_calls", {})
    yield fake
    MediaClient().stop()
