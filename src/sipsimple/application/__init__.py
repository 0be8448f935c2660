"""The user agent as a whole (the contract's `sipsimple.application`)."""

from sipsimple.application.application import SIPApplication

__all__ = ["SIPApplication"]
