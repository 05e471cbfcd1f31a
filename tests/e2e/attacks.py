"""Every way into a mesh, with whatever headers an attacker likes, and one form of answer for all of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

import grpc
import httpx
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from tests.e2e.api import DETAILS_KEY, info, status_of_json
from tests.faults.gateways import Gateway, running_gateway
from tests.support.contract import bindings, full_name, methods
from tests.support.keys import add_keys
from tests.support.mesh import Mesh
from tests.support.postgres import run
from waypost.access.identity import Role, Scope
from waypost.model import DEFAULT_WORKSPACE
from waypost.supervisor import dev_issuer
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.settings import SupervisorSettings

METHODS = {full_name(method): method for method in methods()}
BINDINGS = {full_name(binding.method): binding for binding in reversed(list(bindings()))}

GET_WORKSPACE = "/waypost.api.v1.WorkspaceService/GetWorkspace"
GET_CALLER = "/waypost.api.v1.WorkspaceService/GetCaller"
CHECK = "/waypost.api.v1.RateLimitService/Check"
LIST_JOBS = "/waypost.api.v1.JobService/ListJobs"

UNAUTHENTICATED, DENIED = "ERROR_REASON_UNAUTHENTICATED", "ERROR_REASON_PERMISSION_DENIED"
TIMEOUT = 30.0

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """How a call ended, whichever way it came: `code` as gRPC has it, 0 is well; `text`: all that came back."""

    code: int
    reason: str = ""
    message: str = ""
    challenge: str = ""
    text: str = field(default="", repr=False)
    body: Any = None

    @property
    def well(self) -> bool:
        return self.code == 0


Way = Callable[[str, Message, Headers], Answer]
"""Calls a method, by its full name, with a message and headers."""


def json_way(client: httpx.Client) -> Way:
    """As JSON, through the edge."""

    def call(method: str, message: Message, headers: Headers) -> Answer:
        binding = BINDINGS[method]
        fields = MessageToDict(message, preserving_proto_field_name=True)
        path = binding.path
        for name in [part.split("}")[0] for part in path.split("{")[1:]]:
            path = path.replace(f"{{{name}}}", quote(str(fields.pop(name, "x")), safe=""))
        given: dict[str, Any] = {"json": fields} if binding.body else {"params": fields}
        return answer_of(client.request(binding.verb, path, headers=list(headers), **given))

    return call


def grpc_way(channel: grpc.Channel) -> Way:
    """Over gRPC, on whatever port the channel is."""

    def call(method: str, message: Message, headers: Headers) -> Answer:
        kind = GetMessageClass(METHODS[method].output_type)
        stub: Any = channel.unary_unary(
            method, request_serializer=lambda one: one.SerializeToString(), response_deserializer=kind.FromString
        )
        try:
            return Answer(0, body=stub(message, timeout=TIMEOUT, metadata=tuple(headers)))
        except grpc.RpcError as error:
            return _refusal(error)

    return call


def _refusal(error: Any) -> Answer:
    trailers = [*(error.trailing_metadata() or ()), *(error.initial_metadata() or ())]
    known = dict(trailers)
    reason = ""
    if DETAILS_KEY in known:
        status = status_pb2.Status.FromString(known[DETAILS_KEY])
        reason = info(status).reason
        assert status.code == error.code().value[0]
        assert info(status).domain == "waypost"
    return Answer(
        error.code().value[0],
        reason,
        error.details() or "",
        known.get("www-authenticate", ""),
        f"{error.details()} {trailers}",
    )


def answer_of(response: httpx.Response) -> Answer:
    """An answer over HTTP; every error must be complete."""
    if response.status_code == 200:
        return Answer(0, text=response.text, body=response.json())
    status = status_of_json(response, response.status_code)
    challenge = response.headers.get("www-authenticate", "")
    text = f"{response.text} {json.dumps(dict(response.headers))}"
    return Answer(status.code, info(status).reason, status.message, challenge, text)


@contextmanager
def edge_client(mesh: Mesh, *, http2: bool = False) -> Iterator[httpx.Client]:
    """Nobody's, of HTTP/1.1 or of HTTP/2 without TLS."""
    with httpx.Client(base_url=mesh.http_url, http1=not http2, http2=http2, trust_env=False, timeout=TIMEOUT) as client:
        yield client


@contextmanager
def own_channel(address: str) -> Iterator[grpc.Channel]:
    """A channel with a connection of its own."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        yield channel


def address_of(mesh: Mesh, port: str) -> str:
    """`host:port` of a port by its name, for example `gateway_control`."""
    return f"127.0.0.1:{mesh.ports[port]}"


@contextmanager
def ways_into(mesh: Mesh) -> Iterator[dict[str, Way]]:
    """All of them that lead to the gateway: through the edge, and on its own port, where no edge helps."""
    with (
        edge_client(mesh) as plain,
        edge_client(mesh, http2=True) as multiplexed,
        own_channel(address_of(mesh, "http")) as edge,
        own_channel(address_of(mesh, "gateway_control")) as gateway,
    ):
        yield {
            "JSON": json_way(plain),
            "JSON over HTTP/2": json_way(multiplexed),
            "gRPC": grpc_way(edge),
            "the gateway's port": grpc_way(gateway),
        }


@asynccontextmanager
async def gateway_beside(mesh: Mesh) -> AsyncIterator[Gateway]:
    """Another gateway of the same mesh, beside the one that it started. Its log is read by the running loop."""
    urls = EmbeddedDatabase(SupervisorSettings.from_env({}), DataDir(mesh.data)).role_urls()
    env = {
        "WAYPOST_KEY_PEPPER": (mesh.data / "key-pepper").read_text().strip(),
        "WAYPOST_RATELIMITER_ADDRESS": address_of(mesh, "ratelimiter_control"),
        "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "1000000",
        **dev_issuer.settings(mesh.data),
    }
    async with running_gateway(urls.__getitem__, env) as gateway:
        yield gateway


def request_of(method: str, **fields: Any) -> Message:
    """A message for a method."""
    return GetMessageClass(METHODS[method].input_type)(**fields)


def key_with(
    mesh: Mesh, role: Role, scopes: Sequence[Scope] = (), workspace_id: UUID = DEFAULT_WORKSPACE, **more: Any
) -> str:
    """A new key, with some of its role's scopes alone if they are given."""
    pepper = (mesh.data / "key-pepper").read_text().strip()
    (key,) = run(add_keys(mesh.owner_dsn(), pepper, 1, role, workspace_id=workspace_id, scopes=scopes, **more))
    mesh.secrets.add(key)
    return key


def assert_unauthenticated(answer: Answer, *secrets: str) -> None:
    """Refused as somebody unknown, with all that belongs to it and nothing of what was sent."""
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED.value[0], UNAUTHENTICATED), answer
    assert answer.message
    assert answer.challenge.startswith("Bearer "), answer
    for secret in secrets:
        for part in secret.split("."):
            # A header of few bytes may stand anywhere by chance.
            assert len(part) < 12 or part not in answer.text, answer


def assert_denied(answer: Answer, what: object = "") -> None:
    """Known, and refused all the same."""
    assert (answer.code, answer.reason) == (grpc.StatusCode.PERMISSION_DENIED.value[0], DENIED), (what, answer)
