"""Classes that have one instance per process, or one per identity."""

from __future__ import annotations

import threading
from typing import Any


class Singleton(type):
    """Metaclass: calling the class with the same arguments always gives the same object.

    A subclass has its own instance. The constructor runs once, under a lock of the class, so two threads cannot both
    construct. Arguments have to be hashable.
    """

    _instances: dict[Any, Any]
    _lock: threading.RLock

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kw: Any) -> None:
        super().__init__(name, bases, namespace, **kw)
        cls._instances = {}
        cls._lock = threading.RLock()

    def __call__(cls, *args: Any, **kw: Any) -> Any:
        key = (args, tuple(sorted(kw.items())))
        with cls._lock:
            if key not in cls._instances:
                cls._instances[key] = super().__call__(*args, **kw)
            return cls._instances[key]
