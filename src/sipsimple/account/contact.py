"""The address at which this host is reached for an account, and the name of the installation there (RFC 5626 4.1)."""

from __future__ import annotations

import random
import string
import uuid
from typing import Any, Final

from sipsimple.configuration.datatypes import SIPAddress
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI
from sipsimple.core.network import default_address
from sipsimple.engine import Engine

USERNAME_LENGTH: Final = 8

_TRANSPORTS: Final = ("udp", "tcp", "tls")


class ContactURI(SIPAddress):
    """`user@address`; `contact["tls"]` is the SIPURI for that transport, with the port that the Engine listens on."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        if key not in _TRANSPORTS:
            return super().__getitem__(key)
        parameters: dict[str, str | None] = {} if key == "udp" else {"transport": key}
        return SIPURI(
            host=self.domain, user=self.username, port=getattr(Engine(), f"{key}_port"), parameters=parameters
        )


def new_username() -> str:
    """Distinct random lower-case letters: what tells the calls for one account from those for another."""
    return "".join(random.SystemRandom().sample(string.ascii_lowercase, USERNAME_LENGTH))


def local_address() -> str:
    """The address in contacts: `SIPSimpleSettings.local_ip`, or that of the interface with the default route."""
    configured = SIPSimpleSettings().local_ip
    return str(configured) if configured else default_address()


def instance_id() -> str:
    """The URN by which registrars tell this installation from others of the same user; made on first need."""
    settings = SIPSimpleSettings()
    if settings.instance_id is None:
        settings.instance_id = uuid.uuid4().urn
    return str(settings.instance_id)
