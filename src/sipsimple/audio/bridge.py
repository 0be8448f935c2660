"""A set of audio ports, each of which hears all the others.

The mixing is that of `SlotBridge` (sum minus own), so a bridge of n ports costs n and not n². The bridge is a port
itself, by two pass-through slots: what is sent to it reaches all members, what members produce comes out of it, and
what comes in does not go out again, so that nobody in a nest of bridges hears himself.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from zope.interface import implementer

from sipsimple.audio.port import SLOTS_CHANGED, IAudioPort
from sipsimple.core import AudioMixer, MixerPort
from sipsimple.core.media import SlotBridge
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.singleton import Singleton


class _Membership(NamedTuple):
    port: weakref.ref[Any]
    member: int


@implementer(IAudioPort)
class AudioBridge:
    """Connects the ports that are added to it in a full mesh; it does not keep them alive.

    Bridges may be members of bridges, as long as they form no cycle.
    """

    def __init__(self, mixer: AudioMixer) -> None:
        self.mixer = mixer
        self._slots = SlotBridge(mixer)
        self._ends: tuple[MixerPort, MixerPort] | None = None
        self._members: dict[int, _Membership] = {}
        # Reentrant: a member may be collected, and leave, while this thread is at work here.
        self._lock = threading.RLock()

    @property
    def consumer_slot(self) -> int | None:
        """What is sent here is heard by all members."""
        return self._entrance_and_exit()[0].slot

    @property
    def producer_slot(self) -> int | None:
        """The sum of what all members produce."""
        return self._entrance_and_exit()[1].slot

    def _entrance_and_exit(self) -> tuple[MixerPort, MixerPort]:
        # Every call has a bridge, and few bridges are members of another: two slots each would be wasted on them.
        with self._lock:
            if self._ends is None:
                entrance, exit_ = MixerPort(self.mixer), MixerPort(self.mixer)
                entrance.start()
                exit_.start()
                self._slots.put(self._slots.new_member(), entrance.slot, exit_.slot)
                self._ends = entrance, exit_
            return self._ends

    def add(self, port: Any) -> None:
        """Connect the port with all members; adding it again changes nothing.

        Raises TypeError for what is no IAudioPort, ValueError for a port of another mixer.
        """
        if not IAudioPort.providedBy(port):
            raise TypeError(f"only implementations of IAudioPort can be in an AudioBridge, {port!r} is none")
        if port.mixer is not self.mixer:
            raise ValueError(f"{port!r} has another mixer than the bridge: only ports of one mixer can be connected")
        with self._lock:
            if port in self:
                return
            identity, own = id(port), weakref.ref(self)

            def collected(reference: weakref.ref[Any]) -> None:
                bridge = own()
                if bridge is not None:
                    bridge._forget(identity, reference)

            membership = _Membership(weakref.ref(port, collected), self._slots.new_member())
            self._members[identity] = membership
            _Watch().add(identity, self)
            self._slots.put(membership.member, port.producer_slot, port.consumer_slot)

    def remove(self, port: Any) -> None:
        """Disconnect the port from all members; raises ValueError when it is none."""
        with self._lock:
            if port not in self:
                raise ValueError(f"{port!r} is not in this bridge")
            self._forget(id(port), self._members[id(port)].port)

    def __contains__(self, port: object) -> bool:
        membership = self._members.get(id(port))
        return membership is not None and membership.port() is port

    def __iter__(self) -> Iterator[Any]:
        """The members, in the order in which they were added."""
        return iter([port for port in (membership.port() for membership in list(self._members.values())) if port])

    def _forget(self, identity: int, reference: weakref.ref[Any]) -> None:
        with self._lock:
            membership = self._members.get(identity)
            if membership is not None and membership.port is reference:
                del self._members[identity]
                _Watch().discard(identity, self)
                self._slots.remove(membership.member)

    def reconnect(self, port: Any) -> None:
        """Connect the slots that a member has now, in place of those it had."""
        with self._lock:
            if port in self:
                self._slots.put(self._members[id(port)].member, port.producer_slot, port.consumer_slot)


@implementer(IObserver)
class _Watch(metaclass=Singleton):
    """Hears of changed slots once for all bridges, and tells those that the port is in.

    A bridge that observed the notifications itself would keep its members alive, since the centre keeps senders.
    """

    def __init__(self) -> None:
        self._bridges: dict[int, weakref.WeakSet[AudioBridge]] = {}
        NotificationCenter().add_observer(self, name=SLOTS_CHANGED)

    def add(self, identity: int, bridge: AudioBridge) -> None:
        self._bridges.setdefault(identity, weakref.WeakSet()).add(bridge)

    def discard(self, identity: int, bridge: AudioBridge) -> None:
        bridges = self._bridges.get(identity)
        if bridges is not None:
            bridges.discard(bridge)
            if not bridges:
                self._bridges.pop(identity, None)

    def handle_notification(self, notification: Notification) -> None:
        for bridge in list(self._bridges.get(id(notification.sender), ())):
            bridge.reconnect(notification.sender)
