"""The idempotency key of a call: from its field or its header, bound to what the call asks for."""

from __future__ import annotations

import hashlib
import re

from gateway.convert import fingerprinted
from waypost.access.identity import ANONYMOUS, Identity
from waypost.api.v1 import link_service_pb2 as pb
from waypost.errors import InvalidFields
from waypost.model import DEFAULT_WORKSPACE, IdempotencyKey
from waypost.rpc.context import CallContext

Mutation = (
    pb.CreateLinkRequest
    | pb.BatchCreateLinksRequest
    | pb.UpdateLinkRequest
    | pb.DeleteLinkRequest
    | pb.UndeleteLinkRequest
)
"""The requests that change something: each has a `request_id`."""

HEADER = "idempotency-key"

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def key_of(request: Mutation, context: CallContext, identity: Identity) -> IdempotencyKey | None:
    """The key of the call, None if it has none; known by who asks, whose address counts for strangers alone.

    Raises `InvalidFields` for a bad one, and for two that differ.
    """
    field, header = request.request_id, context.headers.get(HEADER, "")
    if len({value for name, value in context.invocation_metadata() if name == HEADER}) > 1:
        raise InvalidFields.one(HEADER, "comes with two values: give one")
    for name, value in (("request_id", field), (HEADER, header)):
        if value and not _KEY.fullmatch(value):
            raise InvalidFields.one(
                name, "must be 1 to 128 visible ASCII characters without spaces, a UUID for example"
            )
    if field and header and field != header:
        raise InvalidFields.one("request_id", f"differs from the header {HEADER}: give one of the two")
    key = field or header
    if not key:
        return None
    method = context.method.rpartition("/")[2]
    # Strangers are told apart as far as can be: nobody is to get what another one was answered.
    principal = f"{ANONYMOUS}@{identity.address}" if identity.anonymous else identity.principal
    fingerprint = hashlib.sha256(fingerprinted(request)).digest()
    return IdempotencyKey(identity.workspace_id or DEFAULT_WORKSPACE, principal, method, key, fingerprint)
