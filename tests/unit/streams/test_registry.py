"""The registry of stream classes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sipsimple import streams
from sipsimple.streams import AudioStream, MediaStreamRegistrar, MediaStreamRegistry


@pytest.fixture
def registry(monkeypatch):
    registry = MediaStreamRegistry()
    monkeypatch.setattr(registry, "_classes", list(registry))
    return registry


@pytest.mark.spec(149, 150)
def test_the_registry_is_one_and_knows_the_built_in_streams(registry):
    assert MediaStreamRegistry() is registry
    assert AudioStream in registry
    assert AudioStream.priority == 1


@pytest.mark.spec(150, 151, 152)
def test_classes_are_in_order_of_priority_and_once(registry):
    class High:
        priority = 100

    class AlsoHigh:
        priority = 100

    class Low:
        priority = -5

    class Never:
        priority = None

    for cls in (Low, High, Never, AlsoHigh, High):
        registry.add(cls)
    classes = list(registry)
    assert classes[:2] == [High, AlsoHigh]
    assert classes[-1] is Low
    assert Never not in classes
    assert classes.count(High) == 1


def test_the_metaclass_registers(registry):
    class Mine(metaclass=MediaStreamRegistrar):
        type = "mine"
        priority = 5

    class Abstract(metaclass=MediaStreamRegistrar):
        type = "abstract"

    assert Mine in registry
    assert Abstract not in registry


def test_streams_over_msrp_are_loaded_when_they_are_wanted():
    program = """
import sys
from sipsimple.streams import MediaStreamRegistry
names = lambda classes: [cls.__name__ for cls in classes]
assert names(MediaStreamRegistry().classes_for("audio")) == ["AudioStream"]
assert MediaStreamRegistry().is_loaded("audio")
assert not MediaStreamRegistry().is_loaded("audio", "message")
assert not MediaStreamRegistry().is_loaded()
assert "sipsimple.msrp" not in sys.modules
assert names(MediaStreamRegistry().classes_for("message"))[:3] == ["FileTransferStream", "AudioStream", "ChatStream"]
assert names(MediaStreamRegistry()) == names(MediaStreamRegistry().classes_for("audio"))
assert MediaStreamRegistry().is_loaded()
assert "lxml" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_every_name_of_the_package_is_there():
    for name in streams.__all__:
        assert getattr(streams, name).__name__ == name
    with pytest.raises(AttributeError):
        streams.NoSuchStream  # noqa: B018
