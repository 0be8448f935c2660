"""A configuration that lives as long as its backend object: for tests, tools and scripts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from sipsimple.configuration.backend import IConfigurationBackend


@implementer(IConfigurationBackend)
class MemoryBackend:
    """Keeps the configuration in `data`; `MemoryBackend({"SIPSimpleSettings": {...}})` starts with something."""

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        self.data: dict[str, Any] = copy.deepcopy(dict(data or {}))

    def load(self) -> dict[str, Any]:
        """Return a copy of the data."""
        return copy.deepcopy(self.data)

    def save(self, data: dict[str, Any]) -> None:
        """Keep a copy of the data."""
        self.data = copy.deepcopy(data)

    def __repr__(self) -> str:
        # The data holds passwords.
        return f"<{type(self).__name__} of {len(self.data)} entries>"
