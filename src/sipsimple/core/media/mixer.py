"""The audio mixer as applications see it: slots, connections between them, volumes and the sound devices.

The numbers of the slots are given out here and not by the engine, so that every method of the mixer answers at once
and `connected_slots` tells what was asked for. Commands are obeyed in order, therefore both sides always agree.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from sipsimple.core.media.client import DEVICE_TIMEOUT, INVALID_VALUE, MediaClient, translate
from sipsimple.core.notices import post
from sipsimple.media import commands
from sipsimple.sip.errors import PJSIPError, SIPCoreError

if TYPE_CHECKING:
    from sipsimple.core.media.bridge import SlotBridge

MAX_SLOTS: Final = 4096
FRAMES_PER_SECOND: Final = 50


class Revivable(Protocol):
    """What occupies a slot, and can be what it was in another engine."""

    def revive(self) -> None:
        """Occupy the same slot in a fresh engine."""


class AudioMixer:
    """Sums what is connected to each slot, 50 times a second; slot 0 is the sound device.

    A device is a name, `"system_default"` or None. Opening one blocks; in the loop thread use `AudioMixer.open`. Raises
    ValueError for rates that are no multiple of 50, and SIPCoreError for a device that does not work.

    The echo of one device in the other is cancelled unless `ec_tail_length` is 0; `gain_control` (bool) has the input
    brought to an even loudness as well, from the next opening of devices on.
    """

    def __init__(
        self,
        input_device: str | None,
        output_device: str | None,
        sample_rate: int,
        ec_tail_length: int = 200,
        slot_count: int = 254,
        gain_control: bool = False,
    ) -> None:
        self._prepare(sample_rate, slot_count)
        self.gain_control = gain_control
        try:
            self.set_sound_devices(input_device, output_device, ec_tail_length)
        except BaseException:
            self.close()
            raise

    @classmethod
    async def open(
        cls,
        input_device: str | None,
        output_device: str | None,
        sample_rate: int,
        ec_tail_length: int = 200,
        slot_count: int = 254,
    ) -> AudioMixer:
        """Make a mixer without blocking the loop while the devices open."""
        await asyncio.to_thread(MediaClient().start)
        mixer = cls(None, None, sample_rate, ec_tail_length, slot_count)
        try:
            await mixer.change_sound_devices(input_device, output_device, ec_tail_length)
        except BaseException:
            mixer.close()
            raise
        return mixer

    def _prepare(self, sample_rate: int, slot_count: int) -> None:
        if sample_rate <= 0 or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"sample_rate must be positive and divisible by {FRAMES_PER_SECOND}: {sample_rate}")
        if not 1 <= slot_count <= MAX_SLOTS:
            raise ValueError(f"slot_count must be within 1 and {MAX_SLOTS}: {slot_count}")
        self.client = MediaClient()
        self.client.start()
        self.id = self.client.new_id()
        self._sample_rate = sample_rate
        self._slot_count = slot_count
        self._free = list(range(1, slot_count + 1))
        self._used = {0}
        self._connections: set[tuple[int, int]] = set()
        # The bridges that a slot is, or was, connected by; there may be one for each call.
        self._bridges: dict[int, weakref.WeakSet[SlotBridge]] = {}
        # What a fresh engine has to be told of, when this one dies.
        self._all_bridges: weakref.WeakSet[SlotBridge] = weakref.WeakSet()
        self._revivable: weakref.WeakValueDictionary[int, Revivable] = weakref.WeakValueDictionary()
        # Reentrant: the garbage collector may release a slot while this thread is at work here.
        self._lock = threading.RLock()
        self._volumes = {"input": 100, "output": 100}
        self._muted = False
        self._devices: tuple[str | None, str | None] = (None, None)
        self._real_devices = commands.RealDevices(None, None)
        self._ec_tail_length = 0
        self.client.post(commands.CreateMixer(self.id, sample_rate, slot_count))
        self.client.listen(self.id, self)
        self.client.keep(self)
        self._finalizer = weakref.finalize(self, self.client.dismiss, commands.DestroyMixer(self.id))
        self._finalizer.atexit = False

    def close(self) -> None:
        """Take the mixer out of the engine, with all that occupies its slots. Idempotent."""
        self._finalizer()

    # -- devices ------------------------------------------------------------------------------------------------------

    @property
    def sample_rate(self) -> int:
        return self._sample_rate

    @property
    def slot_count(self) -> int:
        return self._slot_count

    @property
    def ec_tail_length(self) -> int:
        return self._ec_tail_length

    @property
    def input_device(self) -> str | None:
        """The capture device as it was asked for."""
        return self._devices[0]

    @property
    def output_device(self) -> str | None:
        """The playback device as it was asked for."""
        return self._devices[1]

    @property
    def real_input_device(self) -> str | None:
        """The capture device that is open, None when there is none."""
        return self._real_devices.input

    @property
    def real_output_device(self) -> str | None:
        """The playback device that is open, None when there is none."""
        return self._real_devices.output

    def set_sound_devices(self, input_device: str | None, output_device: str | None, ec_tail_length: int) -> None:
        """Close the devices and open these; blocks. After a SIPCoreError the mixer is without devices."""
        command = self._device_command(input_device, output_device, ec_tail_length)
        if input_device is None and output_device is None:
            self.client.post(command)
            self._devices_are(command, commands.RealDevices(None, None))
        else:
            self._devices_are(command, self.client.call(command, DEVICE_TIMEOUT))

    async def change_sound_devices(
        self, input_device: str | None, output_device: str | None, ec_tail_length: int
    ) -> None:
        """As `set_sound_devices`, without blocking the loop."""
        command = self._device_command(input_device, output_device, ec_tail_length)
        self._devices_are(command, await self.client.acall(command))

    def _device_command(self, input: str | None, output: str | None, ec_tail: int) -> commands.SetDevices:
        if ec_tail < 0:
            raise ValueError(f"ec_tail_length is in milliseconds and must not be negative: {ec_tail}")
        self._devices = (None, None)
        self._real_devices = commands.RealDevices(None, None)
        return commands.SetDevices(self.id, input, output, ec_tail, self.gain_control)

    def _devices_are(self, command: commands.SetDevices, real: commands.RealDevices) -> None:
        self._devices = (command.input, command.output)
        self._real_devices = real
        self._ec_tail_length = command.ec_tail

    def handle_media_event(self, event: commands.DeviceFailed) -> None:
        """The sound device is gone; tell the application, which may choose another."""
        self._lost_devices(translate(event.error))

    def _lost_devices(self, error: SIPCoreError) -> None:
        self._devices = (None, None)
        self._real_devices = commands.RealDevices(None, None)
        post("AudioMixerDidLoseDevices", self, error=str(error))

    # -- another engine -----------------------------------------------------------------------------------------------

    def engine_died(self, reason: str) -> None:
        """The mixer waits for the fresh engine."""

    def revive(self) -> None:
        """Be in a fresh engine what this was in one that died: slots, connections, volumes and devices.

        The devices open some time later; that one does not is told by `AudioMixerDidLoseDevices`.
        """
        if not self._finalizer.alive:
            return
        with self._lock:
            self.client.post(commands.CreateMixer(self.id, self._sample_rate, self._slot_count))
            for occupant in list(self._revivable.values()):
                occupant.revive()
            for source, destination in sorted(self._connections):
                self.client.post(commands.Connect(self.id, source, destination))
            for bridge in list(self._all_bridges):
                bridge.revive()
        self.client.post(commands.SetVolume(self.id, commands.DEVICE_SLOT, self._volumes["input"]))
        self.client.post(commands.SetSinkVolume(self.id, commands.DEVICE_SLOT, self._volumes["output"]))
        if self._muted:
            self.client.post(commands.SetMuted(self.id, commands.DEVICE_SLOT, True))
        if self._devices != (None, None):
            self._reopen_devices()

    def _reopen_devices(self) -> None:
        wanted = self._devices
        self._real_devices = commands.RealDevices(None, None)
        command = commands.SetDevices(self.id, *wanted, self._ec_tail_length, self.gain_control)

        def opened(real: Any, error: SIPCoreError | None) -> None:
            if self._devices != wanted:
                return  # others were chosen meanwhile
            if error is None:
                self._devices_are(command, real)
            else:
                self._lost_devices(error)

        self.client.settle(self.client.request(command), opened)

    # -- volumes ------------------------------------------------------------------------------------------------------

    @property
    def input_volume(self) -> int:
        """Percent; setting it above 0 ends `muted`."""
        return self._volumes["input"]

    @input_volume.setter
    def input_volume(self, volume: int) -> None:
        self._volumes["input"] = checked_volume(volume)
        self.client.post(commands.SetVolume(self.id, commands.DEVICE_SLOT, self._volumes["input"]))
        if volume > 0:
            self.muted = False

    @property
    def output_volume(self) -> int:
        return self._volumes["output"]

    @output_volume.setter
    def output_volume(self, volume: int) -> None:
        self._volumes["output"] = checked_volume(volume)
        self.client.post(commands.SetSinkVolume(self.id, commands.DEVICE_SLOT, self._volumes["output"]))

    @property
    def muted(self) -> bool:
        """True when the microphone is silenced; `input_volume` is kept."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if bool(muted) != self._muted:
            self._muted = bool(muted)
            self.client.post(commands.SetMuted(self.id, commands.DEVICE_SLOT, self._muted))

    # -- connections --------------------------------------------------------------------------------------------------

    @property
    def connected_slots(self) -> list[tuple[int, int]]:
        """All (source, destination) pairs, sorted; those that bridges make are among them."""
        with self._lock:
            pairs = set(self._connections)
            for bridge in {bridge for group in self._bridges.values() for bridge in group}:
                pairs |= bridge.pairs()
        return sorted(pairs)

    def connect_slots(self, src_slot: int, dst_slot: int) -> None:
        """Let the destination hear the source; raises PJSIPError when nothing occupies one of them."""
        self._check_slots(src_slot, dst_slot)
        with self._lock:
            for slot in (src_slot, dst_slot):
                if slot not in self._used:
                    raise PJSIPError(f"Could not connect slots, nothing occupies slot {slot}", INVALID_VALUE)
            if (src_slot, dst_slot) not in self._connections:
                self._connections.add((src_slot, dst_slot))
                self.client.post(commands.Connect(self.id, src_slot, dst_slot))

    def disconnect_slots(self, src_slot: int, dst_slot: int) -> None:
        """Undo `connect_slots`."""
        self._check_slots(src_slot, dst_slot)
        with self._lock:
            if (src_slot, dst_slot) in self._connections:
                self._connections.discard((src_slot, dst_slot))
                self.client.dismiss(commands.Disconnect(self.id, src_slot, dst_slot))

    @staticmethod
    def _check_slots(*slots: int) -> None:
        if any(slot < 0 for slot in slots):
            raise ValueError(f"slots must not be negative: {slots}")

    # -- for what occupies slots --------------------------------------------------------------------------------------

    @property
    def used_slot_count(self) -> int:
        """How many slots are occupied, the sound device aside."""
        return len(self._used) - 1

    def take_slot(self) -> int:
        """Reserve the lowest free slot; raises SIPCoreError when none is free."""
        with self._lock:
            if not self._free:
                raise SIPCoreError(f"all {self._slot_count} slots of the mixer are in use")
            slot = heapq.heappop(self._free)
            self._used.add(slot)
            return slot

    def release_slot(self, slot: int, command: commands.Command | None = None) -> None:
        """Give a slot back, after `command` frees it in the engine; its connections vanish."""
        with self._lock:
            if slot not in self._used:
                return
            if command is not None:
                self.client.dismiss(command)
            self._used.discard(slot)
            self._revivable.pop(slot, None)
            heapq.heappush(self._free, slot)
            self._connections = {pair for pair in self._connections if slot not in pair}
            for bridge in self._bridges.pop(slot, ()):
                bridge.slot_left(slot)

    def keep(self, slot: int, occupant: Revivable) -> None:
        """Revive what occupies the slot, as long as it does, in a fresh engine."""
        self._revivable[slot] = occupant

    def keep_bridge(self, bridge: SlotBridge) -> None:
        """Revive the bridge in a fresh engine."""
        self._all_bridges.add(bridge)

    def bridged(self, slot: int, bridge: SlotBridge) -> None:
        """Note that the bridge connects the slot, and has to hear when nothing occupies it any more."""
        with self._lock:
            self._bridges.setdefault(slot, weakref.WeakSet()).add(bridge)


def checked_volume(volume: int) -> int:
    """The volume in percent; raises ValueError when it is negative."""
    if volume < 0:
        raise ValueError(f"a volume is in percent and must not be negative: {volume}")
    return int(volume)
