"""The peers as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.kamailio import Kamailio


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here talks to a program that is not ours."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture
async def kamailio(tmp_path: Path) -> AsyncIterator[Kamailio]:
    """A registrar and proxy on loopback."""
    async with Kamailio(tmp_path / "kamailio") as running:
        yield running
