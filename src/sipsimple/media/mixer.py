"""A mixer: the audio of one frame of all its slots, added up as its connections and bridges say.

Everything is int16 mono at one sample rate, in frames of 20 ms. Slot 0 is the sound device. What comes from a slot is
scaled by its volume and saturated; sums are made with 32 bits and saturated once, when they reach a sink. A
pass-through port carries 32 bits, so that bridges joined by ports sound exactly as one bridge would.

The owner writes what comes from the slots to `sources`, calls `mix`, and reads what goes to them from `sinks`. Both
arrays have a row per slot, and are replaced by larger ones when a slot is added: take them anew for each tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .commands import DEVICE_SLOT
from .errors import SlotError, UnknownObject
from .routing import INT16_MAX, Matrix, Member, Route, compile_route

FRAMES_PER_SECOND: Final = 50
# Whatever is louder than this clips all but silence already; it keeps products within 64 bits.
MAX_VOLUME: Final = 100_000
_FIRST_ROWS: Final = 8

Frames = npt.NDArray[np.int16]


class Mixer:
    """The topology of one mixer, and the frames of the present tick."""

    def __init__(self, mixer: int, sample_rate: int, slot_count: int) -> None:
        """Raise ValueError when a frame of 20 ms is not a whole number of samples."""
        if sample_rate <= 0 or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"sample rate {sample_rate} must be positive and divisible by {FRAMES_PER_SECOND}")
        self.id = mixer
        self.sample_rate = sample_rate
        self.slot_count = slot_count
        self.frame_size = sample_rate // FRAMES_PER_SECOND
        self.sources: Frames = np.zeros((_FIRST_ROWS, self.frame_size), np.int16)
        self.sinks: Frames = np.zeros((_FIRST_ROWS, self.frame_size), np.int16)
        self._used = {DEVICE_SLOT}
        self._ports: set[int] = set()
        self._connections: set[tuple[int, int]] = set()
        self._bridges: dict[int, dict[int, Member]] = {}
        # What a slot takes part in, as there may be a connection or a bridge for every call.
        self._pairs_of: dict[int, set[tuple[int, int]]] = {}
        self._bridges_of: dict[int, set[int]] = {}
        self._volumes: dict[int, int] = {}
        self._sink_volumes: dict[int, int] = {}
        self._muted: set[int] = set()
        self._route: Route | None = None
        self._matrix: Matrix = np.zeros((0, self.frame_size), np.int32)

    # --- slots

    def add_slot(self, slot: int, *, port: bool = False) -> None:
        """Occupy a slot; `port` makes it a pass-through. Raises SlotError when it is taken or out of range."""
        if not DEVICE_SLOT < slot <= self.slot_count:
            raise SlotError(self.id, slot, f"is out of range: slots go from 1 to {self.slot_count}")
        if slot in self._used:
            raise SlotError(self.id, slot, "is in use: remove what occupies it first")
        self._used.add(slot)
        if port:
            self._ports.add(slot)
        while slot >= len(self.sources):
            self.sources = np.concatenate((self.sources, np.zeros_like(self.sources)))
            self.sinks = np.concatenate((self.sinks, np.zeros_like(self.sinks)))
        self._route = None

    def remove_slot(self, slot: int) -> None:
        """Free a slot with its connections, memberships and volumes; a free one is left as it is."""
        self._used.discard(slot)
        self._ports.discard(slot)
        self._muted.discard(slot)
        self._volumes.pop(slot, None)
        self._sink_volumes.pop(slot, None)
        for pair in list(self._pairs_of.get(slot, ())):
            self.disconnect(*pair)
        for bridge in self._bridges_of.pop(slot, ()):
            _forget_slot(self._bridges[bridge], slot)
        if slot < len(self.sources):
            self.sources[slot] = 0
            self.sinks[slot] = 0
        self._route = None

    def is_port(self, slot: int) -> bool:
        return slot in self._ports

    def set_volume(self, slot: int, volume: int) -> None:
        """Scale what comes from the slot, in percent. Raises SlotError when the slot is unused."""
        self._set_percent(self._volumes, slot, volume)

    def set_sink_volume(self, slot: int, volume: int) -> None:
        """Scale what goes to the slot, in percent. Raises SlotError when the slot is unused."""
        self._set_percent(self._sink_volumes, slot, volume)

    def _set_percent(self, volumes: dict[int, int], slot: int, volume: int) -> None:
        self._check_used(slot)
        if volume < 0:
            raise SlotError(self.id, slot, f"cannot have volume {volume}: it must be 0 percent or more")
        volumes[slot] = min(volume, MAX_VOLUME)
        self._route = None

    def set_muted(self, slot: int, muted: bool) -> None:
        """Silence what comes from the slot, or let it be heard again. Raises SlotError when the slot is unused."""
        self._check_used(slot)
        if muted:
            self._muted.add(slot)
        else:
            self._muted.discard(slot)
        self._route = None

    # --- connections and bridges

    def connect(self, src: int, dst: int) -> None:
        """Let `dst` hear `src`; connecting twice is connecting once. Raises SlotError when one of them is unused."""
        self._check_used(src)
        self._check_used(dst)
        self._connections.add((src, dst))
        for slot in (src, dst):
            self._pairs_of.setdefault(slot, set()).add((src, dst))
        self._route = None

    def disconnect(self, src: int, dst: int) -> None:
        self._connections.discard((src, dst))
        for slot in (src, dst):
            _discard(self._pairs_of, slot, (src, dst))
        self._route = None

    def create_bridge(self, bridge: int, members: Iterable[tuple[int, int | None, int | None]] = ()) -> None:
        """Make a bridge with these members; raises SlotError, as `add_member` does."""
        self._bridges.setdefault(bridge, {})
        for member in members:
            self.add_member(bridge, *member)

    def destroy_bridge(self, bridge: int) -> None:
        for slots in self._bridges.pop(bridge, {}).values():
            self._leave(bridge, slots, ())
        self._route = None

    def add_member(self, bridge: int, member: int, producer: int | None, consumer: int | None) -> None:
        """Let the member take part with these slots, instead of its former ones.

        Raises UnknownObject for an unknown bridge and SlotError for an unused slot.
        """
        members = self._bridge(bridge)
        for slot in (producer, consumer):
            if slot is not None:
                self._check_used(slot)
        before = members.get(member, (None, None))
        members[member] = (producer, consumer)
        self._leave(bridge, before, members.values())
        for slot in (producer, consumer):
            if slot is not None:
                self._bridges_of.setdefault(slot, set()).add(bridge)
        self._route = None

    def remove_member(self, bridge: int, member: int) -> None:
        """End a membership; an unknown one is left as it is. Raises UnknownObject for an unknown bridge."""
        members = self._bridge(bridge)
        self._leave(bridge, members.pop(member, (None, None)), members.values())
        self._route = None

    def _leave(self, bridge: int, slots: Member, others: Iterable[Member]) -> None:
        """Note that a member does not connect these slots with the bridge any more; the `others` may still do."""
        for slot in slots:
            if slot is not None and not any(slot in other for other in others):
                _discard(self._bridges_of, slot, bridge)

    def _bridge(self, bridge: int) -> dict[int, Member]:
        try:
            return self._bridges[bridge]
        except KeyError:
            raise UnknownObject("bridge", bridge) from None

    def _check_used(self, slot: int) -> None:
        if slot not in self._used:
            raise SlotError(self.id, slot, "is not in use")

    # --- the tick

    @property
    def device_takes_part(self) -> bool:
        """Whether anything is connected to the sound device."""
        in_bridge = any(DEVICE_SLOT in pair for members in self._bridges.values() for pair in members.values())
        return in_bridge or any(DEVICE_SLOT in pair for pair in self._connections)

    def mix(self) -> None:
        """Fill `sinks` from `sources`. Rows of sinks that nothing is connected to are silent."""
        if not self._connections and not self._bridges and self._route is not None:
            return
        route = self._route = self._route or self._compile()
        matrix = self._matrix
        late = matrix[route.late_ports] if route.late_ports.size else None
        matrix[: len(self.sources)] = self.sources
        if late is not None:
            matrix[route.late_ports] = late
        for step in route.steps:
            step.run(matrix)
        heard = matrix[route.sink_rows]
        # np.clip does the same, after a look at its arguments that takes longer than the work on a few rows.
        np.minimum(heard, INT16_MAX, out=heard)
        np.maximum(heard, -INT16_MAX - 1, out=heard)
        self.sinks[route.sink_slots] = heard

    def _compile(self) -> Route:
        silent = dict.fromkeys(self._muted, 0)
        volumes = {slot: volume for slot, volume in (self._volumes | silent).items() if volume != 100}
        sink_volumes = {slot: volume for slot, volume in self._sink_volumes.items() if volume != 100}
        rows = len(self.sources)
        route = compile_route(
            rows, self._ports, self._connections, self._bridges, volumes=volumes, sink_volumes=sink_volumes
        )
        matrix = np.zeros((route.row_count, self.frame_size), np.int32)
        # What a cycle carries over from the last tick survives a change of topology elsewhere.
        kept = route.late_ports[route.late_ports < len(self._matrix)]
        matrix[kept] = self._matrix[kept]
        self._matrix = matrix
        self.sinks[:] = 0
        return route


def _discard(sets: dict[int, set[Any]], slot: int, item: object) -> None:
    """Take the item out of the set of the slot, and drop sets that are empty."""
    found = sets.get(slot)
    if found is not None:
        found.discard(item)
        if not found:
            del sets[slot]


def _forget_slot(members: dict[int, Member], slot: int) -> None:
    for member, (producer, consumer) in list(members.items()):
        if slot in (producer, consumer):
            members[member] = (None if producer == slot else producer, None if consumer == slot else consumer)
