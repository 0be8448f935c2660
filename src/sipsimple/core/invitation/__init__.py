"""INVITE dialogs."""

from sipsimple.core.invitation.invitation import Invitation
from sipsimple.core.invitation.payloads import SDPPayloads
from sipsimple.core.invitation.refreshing import too_brief

__all__ = ["Invitation", "SDPPayloads", "too_brief"]
