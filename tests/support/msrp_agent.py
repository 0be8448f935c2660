"""An agent on loopback whose streams run over MSRP, and what its settings may be."""

from __future__ import annotations

from typing import Any

from tests.support.agent import ALICE, SETTINGS


def msrp_settings(transport: str = "tcp", address: str = "127.0.0.1", **account: Any) -> dict[str, Any]:
    """The usual settings with MSRP over this transport, at this address, and no relay unless `account` says so."""
    general = {**SETTINGS["SIPSimpleSettings"], "local_ip": address, "msrp": {"transport": transport}}
    own = {**SETTINGS["Accounts"][ALICE], "nat_traversal": {"use_msrp_relay_for_inbound": "false"}, **account}
    return {"SIPSimpleSettings": general, "Accounts": {ALICE: own}}
