"""Fixtures of the tests of the documented interface."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.agent import Agent, running_agent


@pytest.fixture
async def agent(nothing_left: None) -> AsyncIterator[Agent]:
    """A running application that calls itself."""
    async with running_agent() as agent:
        yield agent
