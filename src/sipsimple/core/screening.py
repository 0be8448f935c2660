"""Why a request is refused before anybody is told of it: by what it demands or lacks (RFC 3261 8.2.2, 8.2.3)."""

from __future__ import annotations

from sipsimple.core.composing import SDP_TYPE, SUPPORTED, response_to, token
from sipsimple.core.invitation import refuse_foreign, too_brief
from sipsimple.sip.dialog import contact_uri
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.sdp import FrozenSDPSession


def refuse_demand(request: Request) -> Response | None:
    """The 420 to a request that requires an extension that is not spoken here; None when it does not."""
    if "Require" not in request.headers.first:
        return None
    unsupported = [tag for tag in _words(request, "Require") if tag.lower() not in SUPPORTED.split(", ")]
    if not unsupported:
        return None
    extra = [FrozenHeader("Unsupported", ", ".join(unsupported))]
    return response_to(request, 420, to_tag=request.to.tag or token(), extra=extra)


def examine_invite(request: Request) -> tuple[Response | None, FrozenSDPSession | None]:
    """Why an INVITE has to be refused, or else its offer (None: the offer is ours to make)."""
    refusal = _refuse_invite(request)
    if refusal is not None or not request.body:
        return refusal, None
    try:
        return None, FrozenSDPSession.parse(request.body)
    except SIPCoreError:
        return response_to(request, 400, "Bad Session Description", to_tag=token()), None


def _refuse_invite(request: Request) -> Response | None:
    if contact_uri(request) is None:
        return response_to(request, 400, "Missing Contact", to_tag=token())
    if not _takes_descriptions(request):
        return response_to(request, 406, to_tag=token())
    if (brief := too_brief(request)) is not None:
        return brief
    return refuse_foreign(request)


def _takes_descriptions(request: Request) -> bool:
    """Whether it takes our answer, or offer; it does when it has nothing to say about what it takes."""
    if "Accept" not in request.headers.first:
        return True
    types = {word.partition(";")[0].rstrip().lower() for word in _words(request, "Accept")}
    return not types or not types.isdisjoint({SDP_TYPE, "application/*", "*/*"})


def _words(request: Request, name: str) -> list[str]:
    """The elements of all headers of this name, without empty ones."""
    return [word.strip() for value in request.headers.get_all(name) for word in value.split(",") if word.strip()]
