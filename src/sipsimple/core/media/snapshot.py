"""What the media engine counts, at hand without waiting for the engine each time.

The engine answers at its next tick, up to 20 ms later. The loop thread must not wait for that as often as somebody
looks, so who looks often sees the last answer, and the next one is fetched meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from sipsimple.sip.errors import SIPCoreError

SNAPSHOT_AGE: Final = 2.0
"""Seconds for which an answer is good enough; an older one is waited for anew."""

RENEWAL_AGE: Final = 0.1
"""Seconds before which the same is not asked again."""


class Snapshot:
    """The last answer to a question to the engine; for any thread."""

    __slots__ = ("_ask", "_asked_at", "_question", "_value", "_value_at", "_wait")

    def __init__(self, ask: Callable[[], Future[Any]], wait: Callable[[Future[Any]], Any]) -> None:
        """`ask` puts the question, `wait` blocks for the answer and raises SIPCoreError when there is none."""
        self._ask = ask
        self._wait = wait
        self._question: Future[Any] | None = None
        self._asked_at = 0.0
        self._value: Any = None
        self._value_at: float | None = None

    def value(self) -> Any:
        """An answer of the last `SNAPSHOT_AGE` seconds, or if need be one that is waited for; the last one at worst."""
        now = time.monotonic()
        question = self._question
        if question is not None and question.done():
            self._take(question)
        age = None if self._value_at is None else now - self._value_at
        if self._question is None and (age is None or age > RENEWAL_AGE):
            self._question, self._asked_at = self._ask(), now
        question = self._question
        if question is not None and (age is None or age > SNAPSHOT_AGE):
            self._take(question)
        return self._value

    def forget(self) -> None:
        """Wait for the next answer, whatever the last one was and whatever has been asked."""
        self._question = self._value_at = None

    def _take(self, question: Future[Any]) -> None:
        self._question = None
        try:
            self._value = self._wait(question)
        except SIPCoreError:
            # The engine is gone, or does not know the stream any more: the last values stay.
            return
        self._value_at = self._asked_at
