"""INVITE dialogs."""

from sipsimple.core.invitation.invitation import Invitation
from sipsimple.core.invitation.payloads import SDPPayloads, refuse_foreign
from sipsimple.core.invitation.refreshing import too_brief

__all__ = ["Invitation", "SDPPayloads", "refuse_foreign", "too_brief"]
