"""Mixing: bridges equal full meshes, nested bridges equal one bridge, sums saturate, nobody hears himself."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sipsimple.media.errors import SlotError, UnknownObject
from sipsimple.media.mixer import Mixer

RATE = 400  # a frame of 8 samples


def mixer_with(count, slot_count=3000):
    mixer = Mixer(1, RATE, slot_count)
    for slot in range(1, count + 1):
        mixer.add_slot(slot)
    return mixer


def speak(mixer, slot, value):
    mixer.sources[slot] = value


def heard(mixer, slot):
    (value,) = set(mixer.sinks[slot].tolist())
    return value


def test_a_connected_sink_hears_its_source_in_the_same_tick():
    mixer = mixer_with(2)
    mixer.connect(1, 2)
    speak(mixer, 1, 77)
    mixer.mix()
    assert (heard(mixer, 1), heard(mixer, 2)) == (0, 77)


def test_connecting_twice_is_connecting_once():
    mixer = mixer_with(2)
    mixer.connect(1, 2)
    mixer.connect(1, 2)
    speak(mixer, 1, 5)
    mixer.mix()
    assert heard(mixer, 2) == 5


def test_a_disconnected_sink_is_silent():
    mixer = mixer_with(2)
    mixer.connect(1, 2)
    speak(mixer, 1, 5)
    mixer.mix()
    mixer.disconnect(1, 2)
    mixer.mix()
    assert heard(mixer, 2) == 0


def test_a_removed_slot_takes_its_connections_with_it():
    mixer = mixer_with(3)
    mixer.connect(1, 3)
    mixer.create_bridge(1)
    mixer.add_member(1, 1, 1, 1)
    mixer.add_member(1, 3, 3, 3)
    mixer.remove_slot(1)
    mixer.add_slot(1)
    speak(mixer, 1, 9)
    mixer.mix()
    assert heard(mixer, 3) == 0


@pytest.mark.parametrize(("level", "expected"), [(30_000, 32_767), (-30_000, -32_768)])
def test_sums_saturate(level, expected):
    mixer = mixer_with(3)
    mixer.connect(1, 3)
    mixer.connect(2, 3)
    mixer.sources[1:3] = level
    mixer.mix()
    assert heard(mixer, 3) == expected


def test_sums_do_not_saturate_on_the_way():
    mixer = mixer_with(4)
    for slot in (1, 2, 3):
        mixer.connect(slot, 4)
    speak(mixer, 1, 30_000)
    speak(mixer, 2, 30_000)
    speak(mixer, 3, -30_000)
    mixer.mix()
    assert heard(mixer, 4) == 30_000


@pytest.mark.parametrize(
    ("volume", "expected"), [(100, 1000), (50, 500), (0, 0), (250, 2500), (10_000, 32_767), (10**9, 32_767)]
)
@pytest.mark.parametrize("side", ["source", "sink"])
def test_volume_scales_and_saturates(side, volume, expected):
    mixer = mixer_with(2)
    mixer.connect(1, 2)
    if side == "source":
        mixer.set_volume(1, volume)
    else:
        mixer.set_sink_volume(2, volume)
    speak(mixer, 1, 1000)
    mixer.mix()
    assert heard(mixer, 2) == expected


def test_an_amplified_source_saturates_before_it_is_added():
    mixer = mixer_with(3)
    mixer.connect(1, 3)
    mixer.connect(2, 3)
    mixer.set_volume(1, 1000)
    speak(mixer, 1, 30_000)
    speak(mixer, 2, -30_000)
    mixer.mix()
    assert heard(mixer, 3) == 2767


def test_muting_keeps_the_volume():
    mixer = mixer_with(2)
    mixer.connect(1, 2)
    mixer.set_volume(1, 200)
    mixer.set_muted(1, True)
    speak(mixer, 1, 10)
    mixer.mix()
    assert heard(mixer, 2) == 0
    mixer.set_muted(1, False)
    mixer.mix()
    assert heard(mixer, 2) == 20


def test_slots_are_checked():
    mixer = Mixer(1, RATE, 3)
    mixer.add_slot(1)
    with pytest.raises(SlotError, match="in use"):
        mixer.add_slot(1)
    with pytest.raises(SlotError, match="from 1 to 3"):
        mixer.add_slot(4)
    with pytest.raises(SlotError, match="not in use"):
        mixer.connect(1, 2)
    with pytest.raises(SlotError, match="0 percent"):
        mixer.set_volume(1, -1)
    with pytest.raises(UnknownObject, match="no bridge 7"):
        mixer.add_member(7, 1, 1, 1)
    with pytest.raises(ValueError, match="divisible by 50"):
        Mixer(1, 11_025, 3)


@st.composite
def memberships(draw):
    count = draw(st.integers(1, 14))
    return [draw(st.sampled_from([(n, n), (n, None), (None, n)])) for n in range(1, count + 1)]


samples = st.integers(-32_768, 32_767)


@given(memberships(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_bridge_sounds_like_a_full_mesh_of_connections(members, data):
    levels = data.draw(st.lists(samples, min_size=len(members), max_size=len(members)))
    bridge, mesh = mixer_with(len(members)), mixer_with(len(members))
    bridge.create_bridge(1)
    for member, (producer, consumer) in enumerate(members):
        bridge.add_member(1, member, producer, consumer)
    for producer, _ in members:
        for _, consumer in members:
            if producer and consumer and producer != consumer:
                mesh.connect(producer, consumer)
    for mixer in (bridge, mesh):
        mixer.sources[1 : len(members) + 1] = np.array(levels)[:, None]
        mixer.mix()
    assert (bridge.sinks[: len(members) + 1] == mesh.sinks[: len(members) + 1]).all()


class Tree:
    """Bridges joined like AudioBridge does it: two ports each, with a membership of its own in the inner bridge."""

    def __init__(self, mixer, free_slot):
        self.mixer = mixer
        self.free_slot = free_slot
        self.bridges = 0

    def _port(self):
        self.mixer.add_slot(self.free_slot, port=True)
        self.free_slot += 1
        return self.free_slot - 1

    def build(self, node):
        """Make the bridge of a nested list of leaf slots; returns its producer and consumer slots."""
        self.bridges += 1
        bridge = self.bridges
        self.mixer.create_bridge(bridge)
        for member, child in enumerate(node):
            slots = self.build(child) if isinstance(child, list) else (child, child)
            self.mixer.add_member(bridge, member, *slots)
        demultiplexer, multiplexer = self._port(), self._port()
        self.mixer.add_member(bridge, len(node), demultiplexer, multiplexer)
        return multiplexer, demultiplexer


@st.composite
def trees(draw):
    shape = draw(st.recursive(st.just(0), lambda inner: st.lists(inner, max_size=4), max_leaves=16))
    numbers = iter(range(1, 100))

    def number(node):
        return [number(child) for child in node] if isinstance(node, list) else next(numbers)

    tree = number(shape if isinstance(shape, list) else [shape])
    return tree, next(numbers) - 1


@given(trees(), st.data())
@settings(max_examples=80, deadline=None)
def test_nested_bridges_sound_like_one_bridge_in_the_same_tick(tree_and_count, data):
    tree, leaves = tree_and_count
    levels = np.array(data.draw(st.lists(samples, min_size=leaves, max_size=leaves)), dtype=np.int64)
    mixer = mixer_with(leaves)
    Tree(mixer, leaves + 1).build(tree)
    mixer.sources[1 : leaves + 1] = levels[:, None]
    mixer.mix()
    expected = np.clip(levels.sum() - levels, -32_768, 32_767)
    assert mixer.sinks[1 : leaves + 1, 0].tolist() == expected.tolist()


class Reference:
    """What a slot hears, by the definition: connections and bridges one by one, ports by recursion."""

    def __init__(self, sources, ports, connections, bridges, volumes):
        self.sources, self.ports, self.connections, self.bridges = sources, ports, connections, bridges
        self.volumes = volumes
        self.asked = []

    def heard(self, slot):
        total = sum(self.said(src) for src, dst in self.connections if dst == slot)
        for members in self.bridges:
            for number, (_, consumer) in enumerate(members):
                if consumer == slot:
                    others = [producer for n, (producer, _) in enumerate(members) if n != number]
                    total += sum(self.said(producer) for producer in others if producer is not None)
        return total

    def said(self, slot):
        assume(slot not in self.asked)  # cycles are another story
        self.asked.append(slot)
        volume = self.volumes.get(slot, 100)
        value = self.heard(slot) if slot in self.ports else self.sources[slot]
        value = (value * volume + 50) // 100
        self.asked.pop()
        return value if slot in self.ports else max(-32_768, min(32_767, value))


@st.composite
def topologies(draw):
    slots = range(1, 9)
    ports = draw(st.sets(st.sampled_from(slots), max_size=5))
    connections = draw(st.sets(st.tuples(st.sampled_from(slots), st.sampled_from(slots)), max_size=8))
    end = st.none() | st.sampled_from(slots)
    bridges = draw(st.lists(st.lists(st.tuples(end, end), max_size=5), max_size=3))
    volumes = draw(st.dictionaries(st.sampled_from(slots), st.integers(0, 300), max_size=3))
    return ports, connections, bridges, volumes


@given(topologies(), st.lists(samples, min_size=9, max_size=9))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_any_topology_without_cycles_is_mixed_by_the_definition(topology, levels):
    ports, connections, bridges, volumes = topology
    mixer = Mixer(1, RATE, 20)
    for slot in range(1, 9):
        mixer.add_slot(slot, port=slot in ports)
        if slot not in ports:
            mixer.sources[slot] = levels[slot]
    for pair in connections:
        mixer.connect(*pair)
    for bridge, members in enumerate(bridges):
        mixer.create_bridge(bridge)
        for member, ends in enumerate(members):
            mixer.add_member(bridge, member, *ends)
    for slot, volume in volumes.items():
        mixer.set_volume(slot, volume)
    mixer.mix()
    reference = Reference(levels, ports, connections, bridges, volumes)
    for slot in set(range(1, 9)) - ports:
        assert heard(mixer, slot) == max(-32_768, min(32_767, reference.heard(slot)))


def test_a_thousand_bridges_in_a_bridge_need_a_fixed_number_of_steps():
    mixer = mixer_with(1000, slot_count=4000)
    Tree(mixer, 1001).build([[slot] for slot in range(1, 1001)])
    mixer.sources[1:1001] = 3
    mixer.mix()
    assert set(mixer.sinks[1:1001, 0].tolist()) == {999 * 3}
    assert len(mixer._route.steps) < 12


def test_a_chain_of_ports_costs_no_tick():
    mixer = mixer_with(2)
    for slot in range(3, 40):
        mixer.add_slot(slot, port=True)
        mixer.connect(1 if slot == 3 else slot - 1, slot)
    mixer.connect(39, 2)
    speak(mixer, 1, 42)
    mixer.mix()
    assert heard(mixer, 2) == 42


def test_port_volumes_apply_on_the_way():
    mixer = mixer_with(2)
    mixer.add_slot(3, port=True)
    mixer.connect(1, 3)
    mixer.connect(3, 2)
    mixer.set_volume(3, 50)
    mixer.set_sink_volume(3, 50)
    speak(mixer, 1, 1000)
    mixer.mix()
    assert heard(mixer, 2) == 250


def test_a_cycle_of_ports_comes_around_one_tick_later():
    mixer = mixer_with(2)
    mixer.add_slot(3, port=True)
    mixer.add_slot(4, port=True)
    mixer.connect(1, 3)
    mixer.connect(3, 4)
    mixer.connect(4, 3)
    mixer.connect(4, 2)
    mixer.set_volume(4, 50)
    heard_by_two = []
    for level in (1000, 0, 0, 0):
        speak(mixer, 1, level)
        mixer.mix()
        heard_by_two.append(heard(mixer, 2))
    assert sorted(heard_by_two, reverse=True)[:3] == [500, 250, 125]


def test_a_cycle_with_gain_saturates_instead_of_overflowing():
    mixer = mixer_with(2)
    mixer.add_slot(3, port=True)
    mixer.connect(1, 3)
    mixer.connect(3, 3)
    mixer.connect(3, 2)
    mixer.set_volume(3, 1000)
    speak(mixer, 1, 1000)
    for _ in range(40):
        mixer.mix()
    assert heard(mixer, 2) == 32_767
