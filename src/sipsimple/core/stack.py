"""What runs: the SIP endpoint and the router, while the engine has them open.

The objects of the core ask here, so that they need not know the Engine, which is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.transport import Destination, Identity

if TYPE_CHECKING:
    from sipsimple.core.outbound import Flow
    from sipsimple.core.router import Router


@dataclass
class Stack:
    """The running parts of the engine."""

    endpoint: Endpoint
    router: Router
    ignore_missing_ack: bool = False
    identities: dict[str, Identity] = field(default_factory=dict)
    """As whom an account, by its address of record, connects over TLS."""
    flows: dict[Destination, set[Flow]] = field(default_factory=dict)
    """What registrations were made over, by where it leads."""


class _Running:
    stack: Stack | None = None


def stack() -> Stack:
    """The running stack; raises SIPCoreError while the engine does not run."""
    if _Running.stack is None:
        raise SIPCoreError("the engine does not run: call Engine().start() first")
    return _Running.stack


def set_stack(running: Stack | None) -> None:
    """Tell what runs from now on; the engine's call."""
    _Running.stack = running
