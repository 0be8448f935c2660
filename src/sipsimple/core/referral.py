"""Asking another party to call somebody (REFER, RFC 3515), within a call or outside, and following what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self

from sipsimple.core.composing import checked_extra
from sipsimple.core.exchange import Answer
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.sipfrag import parse_status
from sipsimple.core.stack import stack
from sipsimple.core.subscriber import FINAL_NOTIFY_TIMEOUT, FIRST_NOTIFY_TIMEOUT, Subscriber, event_of
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import SIPCoreError, SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenFromHeader, FrozenHeader, FrozenSubscriptionStateHeader, FrozenToHeader
from sipsimple.sip.message import Request
from sipsimple.sip.uri import FrozenForeignURI, FrozenSIPURI, parse_any_uri

if TYPE_CHECKING:
    from sipsimple.core.invitation import Invitation

DEFAULT_EXPIRES: Final = 180
"""Seconds that a call attempt takes at most, for a notifier that does not say how long it will tell of it."""


class Referral(Subscriber):
    """Sends one REFER; `SIPReferralGotNotify` tells with `code` and `reason` how far the other party has come.

    `refer_to` is a URI, as an object or as text, of any scheme. `code` and `reason` are those of the last NOTIFY.
    """

    prefix = "SIPReferral"

    def __init__(
        self,
        from_header: Any,
        to_header: Any,
        refer_to: Any,
        contact_header: Any,
        route_header: Any,
        credentials: Any = None,
    ) -> None:
        super().__init__(from_header, to_header, contact_header, route_header, credentials)
        self._refer_to = parse_any_uri(str(getattr(refer_to, "uri", refer_to)))
        self._within: Invitation | None = None
        self._number = 0  # the CSeq number of our REFER, by which NOTIFY requests know it
        self._with_subscription = True
        self._code = 0
        self._reason = ""

    refer_to = ReadOnly[FrozenSIPURI]()
    code = ReadOnly[int]()
    reason = ReadOnly[str]()

    @classmethod
    def within(cls, invitation: Invitation, refer_to: Any, replaced: Invitation | None = None) -> Self:
        """Refer the other party of a call; with `replaced`, to take our place in that other call (RFC 3891).

        Raises SIPCoreInvalidStateError unless both are connected.
        """
        for call in (invitation, replaced):
            if call is not None and (call.state != "connected" or call._dialog is None):
                raise SIPCoreInvalidStateError(f"the call is {call.state}: only a connected one can be transferred")
        local, remote = invitation.local_identity, invitation.remote_identity
        assert local is not None
        assert remote is not None
        target = parse_any_uri(str(getattr(refer_to, "uri", refer_to)))
        referral = cls(
            FrozenFromHeader(local.uri, local.display_name, local.parameters),
            FrozenToHeader(remote.uri, remote.display_name, remote.parameters),
            target if replaced is None else _replacing(target, replaced),
            invitation.local_contact_header,
            invitation.route_header,
            invitation.credentials,
        )
        referral._within = invitation
        referral._dialog, referral._hop = invitation._dialog, invitation._hop
        referral._call_id = str(invitation.call_id)
        referral._authenticator = invitation._authenticator
        return referral

    def send_refer(
        self, extra_headers: Iterable[Any] = (), *, with_subscription: bool = True, timeout: float | None = None
    ) -> None:
        """Send it; without an answer in `timeout` seconds it fails with 408.

        Without subscription nothing is told but whether the REFER was accepted (RFC 4488), if the other party can do
        that. Raises SIPCoreInvalidStateError when it was sent before.
        """
        if self._state != "NULL":
            raise SIPCoreInvalidStateError("a Referral is sent once: make another one")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        extra = checked_extra(extra_headers, ("Content-Type", "Refer-To", "Refer-Sub"))
        self._with_subscription = with_subscription
        run_in_loop(self._refer, extra, timeout)

    def end(self, timeout: float | None = None) -> None:
        """Want to know no more; the other party goes on. Raises SIPCoreError when it was not sent."""
        if self._state == "NULL":
            raise SIPCoreError("the REFER was not sent, so there is nothing to end")
        run_in_loop(self._end, timeout)

    # The work, in the loop thread

    def _refer(self, extra: tuple[Any, ...], timeout: float | None) -> None:
        if self._state != "NULL":
            return
        headers = [FrozenHeader("Refer-To", f"<{self._refer_to}>"), *extra]
        if not any(header.name.lower() == "referred-by" for header in extra):
            headers.append(FrozenHeader("Referred-By", f"<{self._from_header.uri}>"))
        if not self._with_subscription:
            headers.append(FrozenHeader("Refer-Sub", "false"))
        post("SIPReferralWillStart", self)
        self._join()
        self._change("SENT")
        try:
            request = self._request("REFER", self._to_header.uri, headers)
            self._number = request.cseq[0]
            self._send(request, self._answered, timeout)
        except SIPCoreError as error:
            self._fail(0, str(error))

    def _join(self) -> None:
        if self._within is not None:
            stack().router.share(self)
        else:
            stack().router.add(self)

    def _leave(self) -> None:
        if self._within is not None:
            stack().router.unshare(self)
        else:
            stack().router.remove(self)

    def _next_cseq(self) -> int:
        number = super()._next_cseq()
        if self._state == "SENT":
            self._number = number
        return number

    def _answered(self, answer: Answer) -> None:
        self._exchange = None
        if not answer.accepted:
            self._fail(answer.code, answer.reason)
        elif not self._establish(answer):
            self._fail(0, "the answer to REFER is unusable")
        else:
            self._accept()
            assert answer.response is not None
            if (answer.response.headers.get("Refer-Sub") or "").strip().lower().startswith("false"):
                self._over("DidEnd", code=answer.code, reason=answer.reason)
            elif self._state == "ACCEPTED":
                self._arm(FIRST_NOTIFY_TIMEOUT, self._told_nothing)

    def _told_nothing(self) -> None:
        self._fail(408, "the other party does not tell what has come of it")

    def _end(self, timeout: float | None) -> None:
        if self._state == "TERMINATED" or self._ending:
            return
        self._ending = True
        post("SIPReferralWillEnd", self)
        if self._dialog is None or self._state == "SENT":
            self._over("DidEnd", code=self._code, reason=self._reason)
            return
        self._arm(timeout or FINAL_NOTIFY_TIMEOUT, self._ended_at_last)
        headers = [FrozenHeader("Event", f"refer;id={self._number}"), FrozenHeader("Expires", "0")]
        try:
            self._send(self._request("SUBSCRIBE", self._to_header.uri, headers), self._answered_last, timeout)
        except SIPCoreError:
            self._ended_at_last()

    def _answered_last(self, answer: Answer) -> None:
        self._exchange = None
        if not answer.accepted:
            self._ended_at_last()

    def _ended_at_last(self) -> None:
        self._over("DidEnd", code=self._code, reason=self._reason)

    def _ended_by_notifier(self, standing: FrozenSubscriptionStateHeader) -> None:
        self._ended_at_last()

    # What the router hands in

    def _takes(self, request: Request) -> bool:
        event = event_of(request)
        return event is not None and event.event == "refer" and event.id in (None, str(self._number))

    def _got_notify(self, request: Request) -> None:
        self._code, self._reason = parse_status(request.body) or (0, "")
        post("SIPReferralGotNotify", self, request, code=self._code, reason=self._reason)

    def _stand(self, standing: FrozenSubscriptionStateHeader) -> None:
        super()._stand(standing)
        if self._state in ("PENDING", "ACTIVE") and not self._ending:
            expires = DEFAULT_EXPIRES if standing.expires is None else standing.expires
            self._arm(expires + FIRST_NOTIFY_TIMEOUT, self._told_nothing)


def _replacing(target: FrozenSIPURI, call: Invitation) -> FrozenSIPURI:
    """The target, with the header by which its phone recognises the call; the tags are as that phone sees them."""
    if isinstance(target, FrozenForeignURI):
        raise SIPCoreError(f"{target} is no SIP URI, so no call to it can be replaced")
    assert call._dialog is not None
    call_id, local_tag, remote_tag = call._dialog.id
    replaces = f"{call_id};to-tag={remote_tag};from-tag={local_tag}"
    return FrozenSIPURI(
        target.host,
        target.user,
        target.password,
        target.port,
        target.secure,
        target.parameters,
        type(target.headers)({**target.headers, "Replaces": replaces}),
    )
