"""Who connects to whom: `a=setup` as MSRP uses it (RFC 6135, RFC 4145 4; RFC 4975 5.4 for those who do not know it)."""

from __future__ import annotations

from enum import Enum

__all__ = ["Setup", "answer_setup", "is_active"]


class Setup(Enum):
    """The values of `a=setup` that MSRP knows."""

    ACTIVE = "active"
    PASSIVE = "passive"
    ACTPASS = "actpass"

    @classmethod
    def parse(cls, text: str | None) -> Setup | None:
        """Read the attribute; None when it is missing, or says what has no meaning for MSRP."""
        try:
            return None if text is None else cls(text.strip().lower())
        except ValueError:
            return None


def answer_setup(offered: Setup | None, preferred: Setup = Setup.PASSIVE) -> Setup | None:
    """What to answer to an offer; `preferred` counts when the offer leaves it to us.

    Without the attribute in the offer there is none in the answer, and the party that offers connects.
    """
    if offered is None:
        return None
    if offered is Setup.ACTPASS:
        return Setup.ACTIVE if preferred is Setup.ACTIVE else Setup.PASSIVE
    return Setup.PASSIVE if offered is Setup.ACTIVE else Setup.ACTIVE


def is_active(we_offered: bool, answered: Setup | None) -> bool:
    """Whether we connect. The answer decides; without the attribute in it, the party that has offered connects."""
    if answered is None or answered is Setup.ACTPASS:
        return we_offered
    return (answered is Setup.PASSIVE) is we_offered
