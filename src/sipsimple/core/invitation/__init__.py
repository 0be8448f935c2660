"""INVITE dialogs."""

from sipsimple.core.invitation.invitation import Invitation, SDPPayloads

__all__ = ["Invitation", "SDPPayloads"]
