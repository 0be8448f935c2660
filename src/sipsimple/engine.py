"""The SIP engine, under the name that the documentation of accounts uses."""

from sipsimple.core.engine import Engine

__all__ = ["Engine"]
