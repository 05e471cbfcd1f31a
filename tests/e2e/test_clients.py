"""Programs that others wrote, as people use them: grpcurl, curl, Python's gRPC and Node's."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import google.rpc
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.e2e.api import Api, fresh_alias, info, refused
from tests.e2e.shell import DIRECT, shell
from tests.e2e.test_grpcurl import grpcurl
from tests.support.missing import missing
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).parent / "clients" / "node"
TIMEOUT = 10.0
SERVICE = "waypost.api.v1.LinkService"


def test_python(api: Api, edge_channel: grpc.Channel) -> None:
    """As a program would be written with the generated stubs alone."""
    tag = fresh_alias()
    stub = LinkServiceStub(edge_channel)
    made = stub.CreateLink(pb.CreateLinkRequest(url="https://a.example/", tags=[tag], title="Eins"), timeout=TIMEOUT)
    batch = pb.BatchCreateLinksRequest(
        requests=[pb.CreateLinkRequest(url=url, tags=[tag]) for url in ("https://a.example/2", "no")]
    )
    good, bad = stub.BatchCreateLinks(batch, timeout=TIMEOUT).results
    assert (good.WhichOneof("outcome"), info(bad.error).reason) == ("link", "ERROR_REASON_INVALID_FIELD")

    def everything(condition: str) -> list[str]:
        found, token = [], ""
        while True:
            request = pb.ListLinksRequest(filter=condition, page_size=1, page_token=token)
            page = stub.ListLinks(request, timeout=TIMEOUT)
            found += [link.short_code for link in page.links]
            if not (token := page.next_page_token):
                return found

    assert everything(f"tag = {tag}") == [good.link.short_code, made.short_code]
    update = pb.UpdateLinkRequest(short_code=made.short_code, etag=made.etag, update_mask=FieldMask(paths=["title"]))
    updated = stub.UpdateLink(update, timeout=TIMEOUT)
    assert (updated.title, list(updated.tags)) == ("", [tag])
    assert info(refused(lambda: stub.UpdateLink(update, timeout=TIMEOUT))).metadata["etag"] == updated.etag
    delete = pb.DeleteLinkRequest(short_code=made.short_code, request_id=str(uuid4()))
    deleted = stub.DeleteLink(delete, timeout=TIMEOUT)
    undelete = pb.UndeleteLinkRequest(short_code=made.short_code, etag=deleted.etag)
    assert stub.UndeleteLink(undelete, timeout=TIMEOUT).state == pb.LINK_STATE_ACTIVE
    assert stub.DeleteLink(delete, timeout=TIMEOUT) == deleted
    assert api.link(made.short_code)["state"] == "LINK_STATE_ACTIVE"


@pytest.mark.parametrize("port", ["http", "gateway_control"])
def test_grpcurl(api: Api, owner_key: str, port: str) -> None:
    tag = fresh_alias()
    options = ("-protoset", "envoy/waypost.pb") if port == "http" else ()

    def call(method: str, request: dict[str, object], *more: str) -> dict[str, Any]:
        code, said = grpcurl(
            api.mesh, port, f"{SERVICE}/{method}", options=(*options, *more, "-d", json.dumps(request)), key=owner_key
        )
        assert code == 0, said
        answer: dict[str, Any] = json.loads(said)
        return answer

    def fail(method: str, request: dict[str, object], *more: str) -> str:
        code, said = grpcurl(
            api.mesh, port, f"{SERVICE}/{method}", options=(*options, *more, "-d", json.dumps(request)), key=owner_key
        )
        assert code != 0, said
        return said

    def code_of(link: dict[str, Any]) -> str:
        # The set gives fields their camel case names, which reflection leaves out.
        return str(link.get("shortCode") or link["short_code"])

    items = [{"url": "https://a.example/", "tags": [tag], "title": "Erster"}, {"url": "javascript:x"}]
    first, second = call("BatchCreateLinks", {"requests": items})["results"]
    code = code_of(first["link"])
    assert "ERROR_REASON_INVALID_FIELD" in json.dumps(second["error"])
    call("CreateLink", {"url": "https://a.example/", "tags": [tag]})
    page = call("ListLinks", {"filter": f'tag = "{tag}"', "page_size": 1, "order_by": "created_at"})
    assert [code_of(link) for link in page["links"]] == [code]
    token = page.get("nextPageToken") or page["next_page_token"]
    last = call("ListLinks", {"filter": f"tag = {tag}", "page_token": token, "order_by": "created_at"})
    assert [code_of(link) for link in last["links"]] != [code]

    key = ("-H", f"idempotency-key: {tag}")
    # Not "title" alone, as in JSON elsewhere: this grpcurl reads masks as plain messages.
    clear: dict[str, object] = {"short_code": code, "update_mask": {"paths": ["title"]}, "etag": "v1"}
    updated = call("UpdateLink", clear, *key)
    assert "title" not in updated
    assert call("UpdateLink", clear, *key) == updated
    said = fail("UpdateLink", {"short_code": code, "title": "x", "etag": "v1"})
    assert "Code: Aborted" in said
    assert "ERROR_REASON_ETAG_MISMATCH" in said
    assert f'"etag":"{updated["etag"]}"' in said.replace(" ", "")
    said = fail("UpdateLink", {"short_code": code, "title": "x"}, *key)
    assert "Code: AlreadyExists" in said
    assert "ERROR_REASON_IDEMPOTENCY_KEY_REUSED" in said
    said = fail("ListLinks", {"filter": "nothing = 1", "order_by": "x"})
    assert '"field":"filter"' in said
    assert '"field":"order_by"' in said
    assert call("DeleteLink", {"short_code": code})["state"] == "LINK_STATE_DELETED"
    assert call("UndeleteLink", {"short_code": code})["state"] == "LINK_STATE_ACTIVE"


class Curl:
    """`curl` in a shell, as the documentation has it; `$W` is the mesh's address, `$KEY` an API key that it sends."""

    def __init__(self, api: Api, key: str) -> None:
        if shutil.which("curl") is None:
            missing("curl is missing")
        self._env = {**api.mesh.env, **DIRECT, "W": api.mesh.http_url, "KEY": key}

    def __call__(self, arguments: str) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the JSON of an answer."""
        code, output, errors = shell(f"curl -sS -H \"x-api-key: $KEY\" -w '\\n%{{http_code}}' {arguments}", self._env)
        assert code == 0, errors
        body, _, status = output.rpartition("\n")
        return int(status), json.loads(body)


def test_curl(api: Api, owner_key: str) -> None:
    curl = Curl(api, owner_key)
    tag = fresh_alias()
    status, link = curl(f"""--json '{{"url": "https://a.example/", "tags": ["{tag}", "a b"]}}' "$W/api/v1/shorten" """)
    assert (status, link["tags"]) == (200, [tag, "a b"])
    path = f'"$W/api/v1/urls/{link["short_code"]}"'
    batch = f'{{"requests": [{{"url": "https://a.example/2", "tags": ["{tag}"]}}, {{"url": "no"}}]}}'
    status, answer = curl(f"""--json '{batch}' -H 'Idempotency-Key: {tag}' "$W/api/v1/shorten:batch" """)
    assert (status, [list(result) for result in answer["results"]]) == (200, [["link"], ["error"]])
    assert curl(f"""--json '{batch}' -H 'idempotency-key: {tag}' "$W/api/v1/shorten:batch" """) == (200, answer)
    status, problem = curl(f"""--json '{{}}' -H 'Idempotency-Key: {tag}' "$W/api/v1/shorten:batch" """)
    assert (status, list(problem)) == (400, ["code", "message", "details"])

    ask = f"""-G "$W/api/v1/urls" --data-urlencode 'filter=tag = "{tag}"' -d page_size=1"""
    status, page = curl(ask)
    assert (status, [one["original_url"] for one in page["links"]]) == (200, ["https://a.example/2"])
    status, page = curl(f"{ask} --data-urlencode page_token={page['next_page_token']}")
    assert (status, page) == (200, {"links": [link], "next_page_token": ""})
    status, page = curl(f"""-G "$W/api/v1/urls" --data-urlencode 'filter=tag = "a b" AND tag = {tag}'""")
    assert (status, page["links"]) == (200, [link])

    status, updated = curl(f"""-X PATCH --json '{{"title": "Grüße", "update_mask": "title,tags"}}' {path}""")
    assert (status, updated["title"], updated["tags"]) == (200, "Grüße", [])
    status, problem = curl(f"""-X PATCH --json '{{"title": "x", "etag": "{link["etag"]}"}}' {path}""")
    assert (status, problem["code"], problem["details"][0]["reason"]) == (409, 10, "ERROR_REASON_ETAG_MISMATCH")
    assert problem["details"][0]["metadata"]["etag"] == updated["etag"]
    status, problem = curl(f"""-X DELETE {path}?etag={link["etag"]}""")
    assert (status, problem["details"][0]["reason"]) == (409, "ERROR_REASON_ETAG_MISMATCH")
    assert curl(f"-X DELETE {path}")[1]["state"] == "LINK_STATE_DELETED"
    # With a body and without one.
    undelete = f'"$W/api/v1/urls/{link["short_code"]}:undelete"'
    assert curl(f"-X POST {undelete}")[1]["state"] == "LINK_STATE_ACTIVE"
    assert curl(f"--json '{{}}' {undelete}")[0] == 200


@pytest.fixture(scope="session")
def node_client() -> Path:
    """The folder of the client for Node with what it needs, as its lock names it: fetched once, kept in build/.

    Nobody needs Node for Waypost, so where it is missing, or nothing can be fetched, the test is skipped, in CI too.
    """
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}: Node's client is not tried, also not where CI is set")
    lock = (NODE / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "node-client" / hashlib.sha256(lock).hexdigest()[:16]
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90
        )
        if done.returncode != 0:
            # A package that is not what the lock says is no matter of the network.
            assert "EINTEGRITY" not in done.stderr, done.stderr
            assert "EUSAGE" not in done.stderr, done.stderr
            lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
            pytest.skip(f"npm fetches nothing ({'; '.join(lines[:2])}): Node's client is not tried")
        (folder / "complete").touch()
    shutil.copy(NODE / "client.js", folder)
    return folder


def test_node(api: Api, owner_key: str, node_client: Path) -> None:
    tag = fresh_alias()
    include = [ROOT / "proto", Path(next(iter(google.rpc.__path__))).parents[1]]
    command = ["node", "client.js", f"127.0.0.1:{api.mesh.ports['http']}", tag, *map(str, include)]
    code, output, errors = shell(command, {**api.mesh.env, **DIRECT, "WAYPOST_API_KEY": owner_key}, node_client)
    assert code == 0, errors
    seen = json.loads(output)

    created = seen["created"]
    assert (created["title"], created["tags"], created["state"]) == ("Knoten 🪢", [tag], "LINK_STATE_ACTIVE")
    assert created["original_url"] == "https://a.example/?é"
    assert seen["outcomes"] == ["link", "link", "link", "error"]
    assert seen["refused"]["code"] == "INVALID_ARGUMENT"
    reason, fields = seen["refused"]["details"]
    assert (reason["reason"], [one["field"] for one in fields["field_violations"]]) == (
        "ERROR_REASON_INVALID_FIELD",
        ["url"],
    )
    assert len(set(seen["listed"])) == len(seen["listed"]) == 4
    assert seen["listed"][0] == created["short_code"]

    assert (seen["updated"]["title"], seen["updated"]["tags"]) == ("Knoten 🪢", [tag, "new"])
    assert seen["updated"]["expires_at"] is None
    mismatch = seen["mismatch"]
    assert (mismatch["code"], mismatch["details"][0]["reason"]) == ("ABORTED", "ERROR_REASON_ETAG_MISMATCH")
    assert mismatch["details"][0]["metadata"]["etag"] == seen["updated"]["etag"]
    assert mismatch["details"][1]["resource_name"] == created["short_code"]

    first, second, third = seen["once"]
    assert first == second == third
    assert (seen["reused"]["code"], seen["reused"]["details"][0]["reason"]) == (
        "ALREADY_EXISTS",
        "ERROR_REASON_IDEMPOTENCY_KEY_REUSED",
    )
    assert (seen["stranger"]["code"], seen["stranger"]["details"][0]["reason"]) == (
        "UNAUTHENTICATED",
        "ERROR_REASON_UNAUTHENTICATED",
    )
    assert (seen["deleted"]["state"], seen["undeleted"]["state"]) == ("LINK_STATE_DELETED", "LINK_STATE_ACTIVE")
    assert seen["late"]["code"] == "DEADLINE_EXCEEDED"
    assert (seen["missing"]["code"], seen["missing"]["details"][0]["reason"]) == (
        "NOT_FOUND",
        "ERROR_REASON_LINK_NOT_FOUND",
    )
    assert len(api.codes(filter=f"tag = {tag}")) == 5
