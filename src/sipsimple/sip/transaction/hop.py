"""The two requests that are made for the next hop alone: the ACK to a refusal (RFC 3261 17.1.1.3) and CANCEL (9.1).

Both take the Via, with its branch, from the INVITE, and so belong to its transaction at the next hop. The ACK to a
2xx is another thing: see `sipsimple.sip.dialog`.
"""

from __future__ import annotations

from sipsimple.sip.message import Headers, Request, Response

__all__ = ["make_ack", "make_cancel"]


def make_ack(invite: Request, response: Response) -> Request:
    """The ACK to a final response other than 2xx: the To, with its tag, is the one of the response."""
    return _follow_up(invite, "ACK", to=response.headers.get("To"))


def make_cancel(invite: Request) -> Request:
    """The CANCEL of a pending INVITE: the To is the one of the INVITE, so it has a tag only inside a dialog."""
    return _follow_up(invite, "CANCEL", to=invite.headers.get("To"))


def _follow_up(invite: Request, method: str, to: str | None) -> Request:
    old = invite.headers
    # Text is copied, not parsed: the next hop compares these headers with those of the INVITE.
    copied = [("Via", old.get("Via")), ("From", old.get("From")), ("To", to), ("Call-ID", old.get("Call-ID"))]
    items = [(name, value) for name, value in copied if value is not None]
    items += [("CSeq", f"{invite.cseq[0]} {method}"), ("Max-Forwards", "70")]
    items += [("Route", route) for route in old.get_all("Route")]
    return Request(method, invite.raw_uri, Headers.wrap(items))
