"""Which sound devices to use when some come and go: what is chosen, what stands in for it, and when it is back.

A device of the settings that vanished is replaced by the default one, also in the settings. It is remembered, and
taken again when it comes back, unless other settings were made meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

SYSTEM_DEFAULT: Final = "system_default"


class DeviceChoice:
    """The choice for each device setting, such as `input_device`; it remembers what it replaced."""

    def __init__(self) -> None:
        self._replaced: dict[str, str] = {}

    def choose(self, wanted: Mapping[str, str | None], present: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        """The device for each setting: the wanted one, or what stands in for it among those present.

        `wanted` has what the settings say, `present` the devices of that direction, the default one first.
        """
        return {setting: self._choose(setting, device, present[setting]) for setting, device in wanted.items()}

    def _choose(self, setting: str, device: str | None, present: Sequence[str]) -> str | None:
        if device != SYSTEM_DEFAULT:
            self._replaced.pop(setting, None)
        if device is None or device in present:
            return device
        if device != SYSTEM_DEFAULT:
            self._replaced[setting] = device
        elif self._replaced.get(setting) in present:
            return self._replaced.pop(setting)
        return SYSTEM_DEFAULT


def expected_device(device: str | None, present: Sequence[str]) -> str | None:
    """The real device behind the chosen one: of several the first is the default, and there may be none."""
    if device == SYSTEM_DEFAULT:
        return present[0] if present else None
    return device
