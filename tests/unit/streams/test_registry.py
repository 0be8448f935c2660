"""The registry of stream classes."""

from __future__ import annotations

import pytest

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
