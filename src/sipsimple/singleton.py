"""Classes that have one instance per process, or one per identity."""

from __future__ import annotations

import inspect
import threading
from typing import Any


class Singleton(type):
    """Metaclass: calling the class with the same arguments always gives the same object.

    Arguments are the same when they reach the same parameters with equal values, however they are passed; a default
    may be left out. A subclass has its own instances. The constructor runs once, under a lock of the class, so two
    threads cannot both construct; when it raises, the next call tries again. Arguments have to be hashable.
    """

    _instances: dict[Any, Any]
    _calls: dict[Any, Any]
    _lock: threading.RLock

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kw: Any) -> None:
        super().__init__(name, bases, namespace, **kw)
        cls._instances = {}
        # The instances again, by the form of the call: finding one has to be cheap.
        cls._calls = {}
        cls._lock = threading.RLock()

    def __call__(cls, *args: Any, **kw: Any) -> Any:
        call = (args, tuple(sorted(kw.items())) if kw else ())
        try:
            return cls._calls[call]
        except KeyError:
            pass
        bound = inspect.signature(cls.__init__).bind(None, *args, **kw)  # type: ignore[misc]
        bound.apply_defaults()
        identity = (bound.args[1:], tuple(sorted(bound.kwargs.items())))
        with cls._lock:
            if identity not in cls._instances:
                cls._instances[identity] = super().__call__(*args, **kw)
            return cls._calls.setdefault(call, cls._instances[identity])
