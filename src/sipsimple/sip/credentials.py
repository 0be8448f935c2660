"""The name and password that answer a digest challenge.

No text form of these objects shows the password: they end up in logs and tracebacks.
"""

from __future__ import annotations

from sipsimple.sip.frozen import Frozen, Mutable, Twin, text

__all__ = ["BaseCredentials", "Credentials", "FrozenCredentials"]


class BaseCredentials(Twin):
    """A user name and its password, good for any realm."""

    _rules = {"username": text, "password": text}

    username: str
    password: str

    def __init__(self, username: str, password: str) -> None:
        self._fill(username=username, password=password)

    def __str__(self) -> str:
        return f'<Credentials for "{self.username}">'

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self.username!r}>"


class Credentials(Mutable, BaseCredentials):
    """Credentials that may be changed."""


class FrozenCredentials(Frozen, BaseCredentials, normal=Credentials):
    """Credentials that never change."""
