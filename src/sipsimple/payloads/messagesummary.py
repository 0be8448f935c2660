"""Whether messages wait in a mailbox (RFC 3842): `application/simple-message-summary`, lines of text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

__all__ = ["CONTENT_TYPE", "MAX_SIZE", "MalformedSummary", "MessageCount", "MessageSummary"]

CONTENT_TYPE: Final = "application/simple-message-summary"
MAX_SIZE: Final = 64 * 1024
MAX_LINES: Final = 256
MAX_COUNT: Final = 2**32 - 1
CLASSES: Final = ("voice", "fax", "pager", "multimedia", "text")

_COUNT: Final = re.compile(r"\s*(\d{1,10})\s*/\s*(\d{1,10})\s*(?:\(\s*(\d{1,10})\s*/\s*(\d{1,10})\s*\))?\s*", re.ASCII)


class MalformedSummary(ValueError):
    """The bytes are no message summary; the text says why."""


@dataclass(frozen=True, slots=True)
class MessageCount:
    """How many messages of one class there are; the urgent ones are counted in the others, too."""

    new: int
    old: int
    new_urgent: int = 0
    old_urgent: int = 0

    def __post_init__(self) -> None:
        for value in (self.new, self.old, self.new_urgent, self.old_urgent):
            if not 0 <= value <= MAX_COUNT:
                raise ValueError(f"{value} is no number of messages")

    def __str__(self) -> str:
        urgent = f" ({self.new_urgent}/{self.old_urgent})" if self.new_urgent or self.old_urgent else ""
        return f"{self.new}/{self.old}{urgent}"


@dataclass(frozen=True)
class MessageSummary:
    """The state of a mailbox: whether new messages wait, whose it is (a URI), and the counts by class.

    Classes are `voice`, `fax`, `pager`, `multimedia`, `text`, or others in lower case.
    """

    messages_waiting: bool
    account: str | None = None
    counts: dict[str, MessageCount] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> MessageSummary:
        """Read a body; raises MalformedSummary. What is not understood is passed over (RFC 3842 5.2)."""
        if len(data) > MAX_SIZE:
            raise MalformedSummary(f"a summary of {len(data)} bytes; at most {MAX_SIZE} are read")
        lines = data.decode("utf-8", "replace").splitlines()[:MAX_LINES]
        waiting: bool | None = None
        account: str | None = None
        counts: dict[str, MessageCount] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            if name == "messages-waiting":
                waiting = _yes_or_no(value)
            elif name == "message-account":
                account = value.strip() or None
            elif name.endswith("-message") and (found := _COUNT.fullmatch(value)) is not None:
                counts[name.removesuffix("-message")] = MessageCount(
                    *(min(int(n or 0), MAX_COUNT) for n in found.groups())
                )
        if waiting is None:
            raise MalformedSummary("there is no Messages-Waiting")
        return cls(waiting, account, counts)

    def encode(self) -> bytes:
        """The body. Raises ValueError for an account or a class that cannot be written."""
        lines = [f"Messages-Waiting: {'yes' if self.messages_waiting else 'no'}"]
        if self.account is not None:
            lines.append(f"Message-Account: {self.account}")
        lines += [f"{kind.capitalize()}-Message: {count}" for kind, count in self.counts.items()]
        if any(not line.isprintable() for line in lines):
            raise ValueError("control characters cannot be written into a summary")
        return "".join(f"{line}\r\n" for line in lines).encode()


def _yes_or_no(value: str) -> bool:
    word = value.strip().lower()
    if word not in ("yes", "no"):
        raise MalformedSummary("Messages-Waiting is neither yes nor no")
    return word == "yes"
