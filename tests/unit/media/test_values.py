"""The values that pass between the media engine and its client."""

from __future__ import annotations

import copy
import pickle

import pytest

from sipsimple.media.values import Value, replace


class Root(Value):
    reply_to: int = 0


class Point(Root):
    x: int
    y: int = 2


def test_fields_come_in_order_with_defaults_and_those_of_the_base_last():
    assert Point(1) == Point(x=1, y=2) == Point(1, 2, 0)
    assert Point(1, reply_to=7).reply_to == 7
    assert repr(Point(1)) == "Point(x=1, y=2)"


@pytest.mark.parametrize(("args", "named"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_wrong_fields_are_a_mistake(args, named):
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **named)


def test_values_compare_by_kind_and_content_and_can_be_keys():
    class Other(Root):
        x: int
        y: int = 2

    assert Point(1) != Other(1)
    assert Point(1) != (1, 2)
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_values_do_not_change():
    point = Point(1)
    with pytest.raises(AttributeError, match="does not change"):
        point.x = 2
    with pytest.raises(AttributeError):
        del point.x
    assert replace(point, x=3) == Point(3)
    assert point.x == 1
    with pytest.raises(TypeError, match="no z"):
        replace(point, z=3)


def test_values_survive_pickling_and_copying():
    assert pickle.loads(pickle.dumps(Point(1))) == copy.deepcopy(Point(1)) == Point(1)


def test_values_can_be_matched():
    match Point(5):
        case Point(x=value):
            assert value == 5
