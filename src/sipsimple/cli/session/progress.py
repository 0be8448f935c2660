"""How far the files have come that are on their way."""

from __future__ import annotations

import time
from typing import Any, Final

from sipsimple.cli.output import clean
from sipsimple.cli.session.call import size_text

BAR_WIDTH: Final = 20


class FileProgress:
    """The progress of one file transfer."""

    def __init__(self, stream: Any) -> None:
        self.name = clean(stream.file_selector.name or "file")
        self.total = stream.file_selector.size or 0
        self.done = 0
        self._began = time.monotonic()
        self._first: int | None = None

    def reached(self, done: int, total: int | None) -> None:
        """So many bytes are through; what was there before, because an earlier transfer was resumed, has no speed."""
        if self._first is None:
            self._first, self._began = done, time.monotonic()
        self.done = done
        self.total = total or self.total

    @property
    def percent(self) -> int:
        return 100 if not self.total else min(100, 100 * self.done // self.total)

    @property
    def speed(self) -> float:
        """Bytes a second since the beginning."""
        seconds = time.monotonic() - self._began
        return (self.done - (self._first or 0)) / seconds if seconds > 0 else 0.0

    def text(self) -> str:
        filled = BAR_WIDTH * self.percent // 100
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        return f"{self.name} {bar} {self.percent} % {size_text(self.speed)}/s"
