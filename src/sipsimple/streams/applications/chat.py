"""Chat messages and those who send them."""

from __future__ import annotations

from typing import Any

__all__ = ["ChatIdentity"]


class ChatIdentity:
    """Who takes part in a chat; equal when `uri` and `display_name` are."""

    def __init__(self, uri: Any, display_name: str | None = None) -> None:
        self.uri = uri
        self.display_name = display_name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChatIdentity):
            return NotImplemented
        return (self.uri, self.display_name) == (other.uri, other.display_name)

    def __hash__(self) -> int:
        return hash((str(self.uri), self.display_name))

    def __str__(self) -> str:
        return f'"{self.display_name}" <{self.uri}>' if self.display_name else f"<{self.uri}>"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.uri)!r}, {self.display_name!r})"
