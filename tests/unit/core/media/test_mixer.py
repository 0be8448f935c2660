"""Slots, connections, volumes and devices of the audio mixer."""

from __future__ import annotations

import gc

import pytest

from sipsimple.core.media.bridge import SlotBridge
from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.ports import MixerPort
from sipsimple.media import commands
from sipsimple.media.errors import DeviceError, DeviceNotFound
from sipsimple.sip.errors import PJSIPError, SIPCoreError


def test_a_mixer_is_made_with_its_devices(host):
    mixer = AudioMixer("system_default", None, 32000, ec_tail_length=100, slot_count=10)
    assert host.commands == [
        commands.CreateMixer(mixer.id, 32000, 10),
        commands.SetDevices(mixer.id, "system_default", None, 100),
    ]
    assert (mixer.sample_rate, mixer.slot_count, mixer.ec_tail_length) == (32000, 10, 100)
    assert (mixer.input_device, mixer.output_device) == ("system_default", None)
    assert (mixer.real_input_device, mixer.real_output_device) == ("system_default", None)


@pytest.mark.parametrize("arguments", [(16001,), (0,), (-50,), (16000, -1), (16000, 200, 0), (16000, 200, 10**6)])
def test_a_mixer_checks_what_it_is_given(host, arguments):
    with pytest.raises(ValueError):
        AudioMixer(None, None, *arguments)


def test_an_unknown_device_is_an_error_of_the_core(host):
    host.refuse[commands.SetDevices] = DeviceNotFound("loud", ("null",))
    with pytest.raises(SIPCoreError, match="loud"):
        AudioMixer("loud", None, 16000)
    assert len(host.sent(commands.DestroyMixer)) == 1


def test_a_failed_change_of_devices_leaves_none(host):
    mixer = AudioMixer("a", "b", 16000)
    host.refuse[commands.SetDevices] = DeviceError("c", "busy")
    with pytest.raises(SIPCoreError):
        mixer.set_sound_devices("c", "c", 0)
    assert (mixer.input_device, mixer.real_output_device) == (None, None)


async def test_devices_are_opened_without_blocking(host):
    mixer = await AudioMixer.open("a", "b", 16000, ec_tail_length=20)
    assert (mixer.real_input_device, mixer.real_output_device, mixer.ec_tail_length) == ("a", "b", 20)
    host.refuse[commands.SetDevices] = DeviceError("c", "busy")
    with pytest.raises(SIPCoreError):
        await AudioMixer.open("a", "b", 16000)


def test_gain_control_is_asked_for_with_the_devices(host):
    mixer = AudioMixer("a", "b", 16000, 200, 10, True)
    mixer.gain_control = False
    mixer.set_sound_devices("a", "b", 200)
    assert [command.gain_control for command in host.sent(commands.SetDevices)] == [True, False]


def test_a_device_that_fails_is_reported(host, seen):
    mixer = AudioMixer("a", "b", 16000)
    host.on_event(commands.DeviceFailed(mixer.id, DeviceError("a", "unplugged")))
    assert mixer.real_input_device is None
    assert seen.names == ["AudioMixerDidLoseDevices"]


def test_slots_are_given_out_lowest_first(mixer):
    first, second, third = (MixerPort(mixer) for _ in range(3))
    for port in (first, second, third):
        port.start()
    assert [port.slot for port in (first, second, third)] == [1, 2, 3]
    second.stop()
    assert mixer.used_slot_count == 2
    again = MixerPort(mixer)
    again.start()
    assert again.slot == 2


def test_a_full_mixer_says_so(host):
    mixer = AudioMixer(None, None, 16000, slot_count=1)
    port = MixerPort(mixer)
    port.start()
    with pytest.raises(SIPCoreError, match="all 1 slots"):
        MixerPort(mixer).start()


def test_slots_are_connected_once(host, mixer):
    port = MixerPort(mixer)
    port.start()
    mixer.connect_slots(0, port.slot)
    mixer.connect_slots(0, port.slot)
    mixer.connect_slots(port.slot, 0)
    assert mixer.connected_slots == [(0, 1), (1, 0)]
    mixer.disconnect_slots(0, 1)
    mixer.disconnect_slots(0, 1)
    assert mixer.connected_slots == [(1, 0)]
    assert host.sent(commands.Connect) == [commands.Connect(mixer.id, 0, 1), commands.Connect(mixer.id, 1, 0)]
    assert host.sent(commands.Disconnect) == [commands.Disconnect(mixer.id, 0, 1)]


def test_slots_have_to_be_used(mixer):
    with pytest.raises(PJSIPError, match="slot 7"):
        mixer.connect_slots(0, 7)
    for method in (mixer.connect_slots, mixer.disconnect_slots):
        with pytest.raises(ValueError):
            method(-1, 0)


def test_connections_vanish_with_their_slot(mixer):
    port = MixerPort(mixer)
    port.start()
    mixer.connect_slots(0, 1)
    port.stop()
    assert mixer.connected_slots == []


def test_a_dropped_port_leaves_the_mixer(host, mixer):
    port = MixerPort(mixer)
    port.start()
    del port
    gc.collect()
    assert mixer.used_slot_count == 0
    assert host.sent(commands.RemoveSlot) == [commands.RemoveSlot(mixer.id, 1)]


def test_a_dropped_mixer_leaves_the_engine(host):
    mixer = AudioMixer(None, None, 16000)
    id = mixer.id
    del mixer
    gc.collect()
    assert host.sent(commands.DestroyMixer) == [commands.DestroyMixer(id)]


def test_volumes_are_percent(host, mixer):
    assert (mixer.input_volume, mixer.output_volume, mixer.muted) == (100, 100, False)
    mixer.input_volume, mixer.output_volume = 50, 150
    assert (mixer.input_volume, mixer.output_volume) == (50, 150)
    assert host.sent(commands.SetVolume) == [commands.SetVolume(mixer.id, 0, 50)]
    assert host.sent(commands.SetSinkVolume) == [commands.SetSinkVolume(mixer.id, 0, 150)]
    with pytest.raises(ValueError):
        mixer.output_volume = -1


def test_a_volume_ends_silence(host, mixer):
    mixer.muted = True
    mixer.input_volume = 0
    assert mixer.muted
    mixer.input_volume = 10
    assert not mixer.muted
    assert [command.muted for command in host.sent(commands.SetMuted)] == [True, False]


def test_a_bridge_counts_among_the_connections(host, mixer):
    ports = [MixerPort(mixer) for _ in range(3)]
    for port in ports:
        port.start()
    bridge = SlotBridge(mixer)
    members = [bridge.new_member() for _ in range(3)]
    bridge.put(members[0], 1, 1)
    bridge.put(members[1], 2, None)
    bridge.put(members[2], None, 3)
    assert mixer.connected_slots == [(1, 3), (2, 1), (2, 3)]
    ports[1].stop()
    assert mixer.connected_slots == [(1, 3)]
    bridge.remove(members[0])
    bridge.remove(members[0])
    assert mixer.connected_slots == []
    first, second = ((member, *slots) for member, slots in zip(members, ((1, 1), (2, None)), strict=False))
    assert host.sent(commands.BridgeCreate) == [commands.BridgeCreate(mixer.id, bridge.id, (first, second))]
    assert len(host.sent(commands.BridgeAdd)) == 1
    assert len(host.sent(commands.BridgeRemove)) == 1
    del bridge
    gc.collect()
    assert len(host.sent(commands.BridgeDestroy)) == 1


def test_the_engine_knows_a_bridge_while_somebody_hears_another(host, mixer):
    bridge = SlotBridge(mixer)
    alone, other = bridge.new_member(), bridge.new_member()
    bridge.put(alone, 0, 0)
    assert host.sent(commands.BridgeCreate) == []
    for _ in range(2):
        bridge.put(other, 0, None)
        bridge.remove(other)
    assert [type(command) for command in host.commands[-4:]] == [commands.BridgeCreate, commands.BridgeDestroy] * 2
    bridge.remove(alone)
    assert host.sent(commands.BridgeRemove) == []
    del bridge
    gc.collect()
    assert len(host.sent(commands.BridgeDestroy)) == 2


def test_what_is_released_after_the_engine_stopped_needs_no_command(host, mixer):
    port = MixerPort(mixer)
    port.start()
    MediaClient().stop()
    port.stop()
    mixer.close()
    assert host.sent(commands.RemoveSlot) == []
