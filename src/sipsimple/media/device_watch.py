"""Notices that sound devices come, go, or become the default ones.

The systems tell of it in ways of their own, and not all of them do. Asking costs some milliseconds of processor time,
so the watch asks again and again, in a thread of its own, and only while some mixer wants devices.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from .commands import DeviceNames

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0  # seconds between two looks
CLOSE_TIMEOUT: Final = 1.0  # seconds


class DeviceWatch:
    """Calls `changed(old, new)`, in its thread, when `list_names` answers otherwise than the time before."""

    def __init__(
        self,
        list_names: Callable[[], DeviceNames],
        changed: Callable[[DeviceNames | None, DeviceNames], None],
        interval: float = INTERVAL,
    ) -> None:
        """`old` is None at the first look, which tells what there is."""
        self._list_names = list_names
        self._changed = changed
        self._interval = interval
        self._end: threading.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def watching(self) -> bool:
        return self._end is not None

    def want(self, wanted: bool) -> None:
        """Begin to watch, or end it; does nothing when it is so already, and never blocks."""
        if wanted and self._end is None:
            self._end = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._end,), name="media-device-watch", daemon=True)
            self._thread.start()
        elif not wanted and self._end is not None:
            self._end.set()
            self._end = None

    def close(self) -> None:
        """End, and wait for a look that is under way, `CLOSE_TIMEOUT` seconds at most."""
        self.want(False)
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self, end: threading.Event) -> None:
        known: DeviceNames | None = None
        while not end.is_set():
            try:
                names = self._list_names()
            except Exception:  # a sound system in disorder must not end the watch over it
                log.exception("the sound devices cannot be listed")
            else:
                if names != known and not end.is_set():
                    self._changed(known, names)
                    known = names
            end.wait(self._interval)
