"""A bridge between slots: each member hears the sum of all the others, at a cost that grows with their number alone.

`connect_slots` for every pair would say the same with n² commands and as many additions in each tick.

The engine knows the bridge while it has two members or more, since fewer have nobody to hear.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from sipsimple.media import commands

if TYPE_CHECKING:
    from sipsimple.core.media.mixer import AudioMixer


class SlotBridge:
    """Members are named by numbers of `new_member()`; each has a slot that is heard, one that hears, or both."""

    def __init__(self, mixer: AudioMixer) -> None:
        self.mixer = mixer
        self._client = mixer.client
        self.id = self._client.new_id()
        self._members: dict[int, tuple[int | None, int | None]] = {}
        self._finalizer: weakref.finalize[[commands.Command], Any] | None = None
        mixer.keep_bridge(self)

    def close(self) -> None:
        """End all memberships. Idempotent."""
        self._members.clear()
        self._settle()

    def new_member(self) -> int:
        return self._client.new_id()

    def put(self, member: int, producer: int | None, consumer: int | None) -> None:
        """Let the member take part with these slots, instead of its former ones when it did already."""
        # Ports also change when the engine has stopped and nothing is connected any more.
        self._members[member] = (producer, consumer)
        for slot in (producer, consumer):
            if slot is not None:
                self.mixer.bridged(slot, self)
        if self._finalizer is not None:
            self._client.dismiss(commands.BridgeAdd(self.mixer.id, self.id, member, producer, consumer))
        else:
            self._settle()

    def remove(self, member: int) -> None:
        """End a membership; an unknown one is left as it is."""
        if self._members.pop(member, None) is not None:
            self._settle()
            if self._finalizer is not None:
                self._client.dismiss(commands.BridgeRemove(self.mixer.id, self.id, member))

    def _settle(self) -> None:
        """Have the engine know the bridge while it is of use."""
        if self._finalizer is None and len(self._members) > 1:
            members = tuple((member, *slots) for member, slots in self._members.items())
            self._client.dismiss(commands.BridgeCreate(self.mixer.id, self.id, members))
            self._finalizer = weakref.finalize(
                self, self._client.dismiss, commands.BridgeDestroy(self.mixer.id, self.id)
            )
            self._finalizer.atexit = False
        elif self._finalizer is not None and len(self._members) < 2:
            self._finalizer()
            self._finalizer = None

    def revive(self) -> None:
        """Be in a fresh engine what this was in one that died."""
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        self._settle()

    def pairs(self) -> set[tuple[int, int]]:
        """The (source, destination) pairs that the bridge stands for."""
        members = list(self._members.items())
        return {
            (producer, consumer)
            for source, (producer, _) in members
            for destination, (_, consumer) in members
            if source != destination and producer is not None and consumer is not None
        }

    def slot_left(self, slot: int) -> None:
        """Forget a slot that nothing occupies any more, as the engine does by itself."""
        for member, (producer, consumer) in list(self._members.items()):
            if slot in (producer, consumer):
                self._members[member] = (
                    None if producer == slot else producer,
                    None if consumer == slot else consumer,
                )
