"""Where the configuration is kept: the interface of a storage backend.

A backend needs no declaration; an object with these two methods is one. `sipsimple.configuration.backend.file` keeps
the configuration in a text file, `sipsimple.configuration.backend.memory` keeps it nowhere.
"""

from __future__ import annotations

from typing import Any, Protocol

from zope.interface import Interface

from sipsimple.configuration.errors import ConfigurationError


class ConfigurationBackendError(ConfigurationError):
    """The storage of the configuration failed."""


class IConfigurationBackend(Interface):  # type: ignore[misc]  # zope.interface ships no types
    """Storage of a dictionary with text keys, whose values are such dictionaries, text, lists of text, or None."""

    def load():  # type: ignore[no-untyped-def,misc]
        """Return the stored dictionary, empty when nothing is stored yet. Raises ConfigurationBackendError."""

    def save(data):  # type: ignore[no-untyped-def]
        """Store the dictionary in place of what was stored. Raises ConfigurationBackendError."""


class ConfigurationBackend(Protocol):
    """`IConfigurationBackend` for type checkers."""

    def load(self) -> dict[str, Any]: ...

    def save(self, data: dict[str, Any], /) -> None: ...
