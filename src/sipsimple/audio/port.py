"""What can be put into an audio bridge: the `IAudioPort` interface, and the sound device as the simplest port.

`slots_changed` posts the notification that every port owes its bridges.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface, implementer

from sipsimple.core import AudioMixer
from sipsimple.loop import run_in_loop_or_now
from sipsimple.notification import NotificationCenter, TimestampedNotificationData

SLOTS_CHANGED = "AudioPortDidChangeSlots"


class IAudioPort(Interface):  # type: ignore[misc]  # zope.interface ships no types
    """An object that produces audio, consumes it, or both; it posts `AudioPortDidChangeSlots` when that changes."""

    mixer = Attribute("The AudioMixer this is connected to")
    consumer_slot = Attribute("The slot that audio is sent to, or None")
    producer_slot = Attribute("The slot that audio comes from, or None")


def post(name: str, sender: object, **data: Any) -> None:
    """Post a notification in the loop thread; in the calling thread when no loop runs the middleware."""
    run_in_loop_or_now(NotificationCenter().post_notification, name, sender, TimestampedNotificationData(**data))


def slots_changed(
    port: object,
    *,
    consumer: tuple[int | None, int | None] | None = None,
    producer: tuple[int | None, int | None] | None = None,
) -> None:
    """Tell the bridges of a port its (old, new) slots of the side or sides that changed."""
    data: dict[str, Any] = {
        "consumer_slot_changed": consumer is not None,
        "producer_slot_changed": producer is not None,
    }
    if consumer is not None:
        data["old_consumer_slot"], data["new_consumer_slot"] = consumer
    if producer is not None:
        data["old_producer_slot"], data["new_producer_slot"] = producer
    post(SLOTS_CHANGED, port, **data)


@implementer(IAudioPort)
class AudioDevice:
    """The sound device of a mixer: it produces what the microphone hears and consumes what the loudspeaker plays.

    `input_muted` and `output_muted` switch the two roles off. All devices of one mixer are the same hardware.
    """

    def __init__(self, mixer: AudioMixer, input_muted: bool = False, output_muted: bool = False) -> None:
        self.mixer = mixer
        self._input_muted = _checked("input_muted", input_muted)
        self._output_muted = _checked("output_muted", output_muted)

    @property
    def consumer_slot(self) -> int | None:
        return None if self._output_muted else 0

    @property
    def producer_slot(self) -> int | None:
        return None if self._input_muted else 0

    @property
    def input_muted(self) -> bool:
        """True when this does not act as a producer."""
        return self._input_muted

    @input_muted.setter
    def input_muted(self, muted: bool) -> None:
        old = self.producer_slot
        if _checked("input_muted", muted) != self._input_muted:
            self._input_muted = muted
            slots_changed(self, producer=(old, self.producer_slot))

    @property
    def output_muted(self) -> bool:
        """True when this does not act as a consumer."""
        return self._output_muted

    @output_muted.setter
    def output_muted(self, muted: bool) -> None:
        old = self.consumer_slot
        if _checked("output_muted", muted) != self._output_muted:
            self._output_muted = muted
            slots_changed(self, consumer=(old, self.consumer_slot))


def _checked(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is True or False, not {value!r}")  # noqa: TRY004  # the contract's choice
    return value
