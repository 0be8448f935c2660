from __future__ import annotations

import threading

import pytest

from sipsimple.singleton import Singleton


def test_one_instance_per_class_and_arguments():
    class Plain(metaclass=Singleton):
        pass

    class Named(metaclass=Singleton):
        def __init__(self, name="default", *rest, size=1, **more):
            self.name = name

    class Child(Named):
        pass

    assert Plain() is Plain()
    assert Named() is Named("default") is Named(name="default") is Named(size=1)
    assert Named("x") is Named(name="x")
    assert len({id(made) for made in (Named(), Named("x"), Named("x", 5), Named("x", size=2), Named("x", y=2))}) == 5
    assert Child() is not Named()
    assert Child() is Child()


def test_a_constructor_that_raises_is_tried_again():
    class Fragile(metaclass=Singleton):
        calls = 0

        def __init__(self):
            Fragile.calls += 1
            if Fragile.calls == 1:
                raise OSError("not yet")

    with pytest.raises(OSError, match="not yet"):
        Fragile()
    assert Fragile() is Fragile()
    assert Fragile.calls == 2


def test_wrong_arguments_are_refused():
    class Plain(metaclass=Singleton):
        def __init__(self, name):
            pass

    with pytest.raises(TypeError):
        Plain()
    with pytest.raises(TypeError):
        Plain(["unhashable"])


def test_two_threads_construct_once():
    barrier = threading.Barrier(4)
    made = []

    class Slow(metaclass=Singleton):
        def __init__(self):
            made.append(self)

    def call():
        barrier.wait()
        assert Slow() is made[0]

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
