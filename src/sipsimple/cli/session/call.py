"""One call of the client: its session, what waits to be decided, and the streams by their kinds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sipsimple.cli.output import clean

KINDS: Final = {"audio": "audio", "chat": "chat", "file": "file-transfer", "desktop": "desktop-sharing"}
"""What people type, and the `type` of the stream."""


def kind_of(stream: Any) -> str:
    """What people call the stream."""
    return next((kind for kind, type_ in KINDS.items() if type_ == stream.type), str(stream.type))


def kinds_of(streams: Iterable[Any]) -> str:
    """The kinds of the streams as a list for people."""
    return ", ".join(describe(stream) for stream in streams) or "nothing"


def describe(stream: Any) -> str:
    """The kind of a stream, and what makes it this one."""
    selector = getattr(stream, "file_selector", None)
    if selector is None or not selector.name:
        return kind_of(stream)
    size = "" if selector.size is None else f", {size_text(selector.size)}"
    return f"file {clean(selector.name)}{size}"


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


class Call:
    """A session with a number by which people name it."""

    def __init__(self, number: int, session: Any) -> None:
        self.number = number
        self.session = session
        self.transfer_waits = False

    @property
    def party(self) -> str:
        """Who is at the other end."""
        identity = self.session.remote_identity
        if identity is None:
            return "somebody"
        name = clean(identity.display_name) if identity.display_name else ""
        address = clean(identity.uri).removeprefix("sip:")
        return f"{name} <{address}>" if name else address

    @property
    def short(self) -> str:
        """The party in one word, for the lines of a chat."""
        identity = self.session.remote_identity
        if identity is None:
            return "somebody"
        user = identity.uri.user
        return clean(identity.display_name or (user.decode() if isinstance(user, bytes) else user) or identity.uri.host)

    @property
    def streams(self) -> list[Any]:
        """The streams that run."""
        return list(self.session.streams or ())

    @property
    def all_streams(self) -> list[Any]:
        """The streams that run, and those that are proposed."""
        return self.streams + [one for one in self.session.proposed_streams or () if one not in self.streams]

    def stream(self, kind: str) -> Any | None:
        """The first stream of this kind that runs, or None."""
        return next((stream for stream in self.streams if stream.type == KINDS[kind]), None)

    def has(self, stream: object) -> bool:
        return any(stream is one for one in self.all_streams)

    def line(self) -> str:
        """The call in one line."""
        hold = ", on hold" if self.session.on_hold else ""
        what = kinds_of(self.streams or self.all_streams)
        return f"{self.number}: {self.party} ({clean(self.session.state)}{hold}): {what}"
