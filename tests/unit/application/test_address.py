"""The watch over the address of this host."""

from __future__ import annotations

import asyncio

import pytest

from sipsimple.application.address import AddressWatch, watch_address
from sipsimple.notification import NotificationCenter


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ("AAAA", []),
        ("ABBB", [("A", "B")]),
        ("ABAB", []),
        ("ABCC", [("A", "C")]),
        ("ABBAA", [("A", "B"), ("B", "A")]),
    ],
)
def test_only_an_address_that_stays_is_a_change(seen: str, told: list[tuple[str, str]]):
    watch = AddressWatch(seen[0])
    changes = [(old, watch.address) for address in seen[1:] if (old := watch.look(address)) is not None]
    assert changes == told


async def test_a_change_is_posted_with_both_addresses():
    seen = iter(["192.0.2.1", "192.0.2.9", "192.0.2.9"])
    sender = object()
    watching = asyncio.ensure_future(watch_address(sender, 0.01, lambda: next(seen, "192.0.2.9")))
    notification = await NotificationCenter().wait("SystemIPAddressDidChange", sender, timeout=5)
    watching.cancel()
    assert (notification.data.old_ip_address, notification.data.new_ip_address) == ("192.0.2.1", "192.0.2.9")
