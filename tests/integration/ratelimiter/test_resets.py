"""Who resets counters is on record: in the database's audit log, and in any case in the process' own."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import grpc
import orjson
import pytest

from tests.integration.ratelimiter.process import Limiter, limiter_running
from tests.support.postgres import Database
from tests.support.tokens import AUDIENCE, ISSUER, Issuer
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import DEFAULT_WORKSPACE

RULES = "domain: shop\ndescriptors: [{key: k, rate_limit: {unit: year, requests_per_unit: 4}}]\n"
RESET = pb.ResetRequest(
    domain="shop", descriptors=[pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key="k", value="a")])]
)
DETAILS = {"domain": "shop", "descriptors": '[[["k", "a"]]]', "descriptor_count": "1"}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> dict[str, str]:
    """Those of a rate limiter with an operator."""
    (tmp_path / "jwks.json").write_bytes(issuer.jwks())
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "shop.yaml").write_text(RULES)
    return {
        "WAYPOST_JWT_ISSUER": ISSUER,
        "WAYPOST_JWT_AUDIENCE": AUDIENCE,
        "WAYPOST_JWT_JWKS_FILE": str(tmp_path / "jwks.json"),
        "WAYPOST_OPERATORS": "ada",
    }


def reset(limiter: Limiter, issuer: Issuer, call: str) -> int:
    """Resets what one call has used; how many counters there were."""
    assert limiter.ask("shop", {"k": "a"}, hits=3).statuses[0].limit_remaining == 1
    metadata = (("authorization", f"Bearer {issuer.token()}"), ("x-correlation-id", call))
    counters = limiter.api.Reset(RESET, timeout=10, metadata=metadata).counters
    line = limiter.process.wait_for("limit_reset")
    assert {name: line[name] for name in DETAILS} == DETAILS
    assert (line["counters"], line["principal"], line["correlation_id"]) == (1, "user:ada", call)
    return int(counters)


async def test_in_the_audit_log_where_there_is_a_database(
    tmp_path: Path, settings: dict[str, str], issuer: Issuer, database: Database
) -> None:
    url = database.url("waypost_limiter")
    with limiter_running(tmp_path / "limits", **settings, WAYPOST_DATABASE_LIMITER_URL=url) as limiter:
        assert reset(limiter, issuer, "call-1") == 1
        with pytest.raises(grpc.RpcError):
            limiter.api.Reset(RESET, timeout=10)
    owner = await asyncpg.connect(database.url())
    try:
        (row,) = await owner.fetch("SELECT * FROM audit_log")
    finally:
        await owner.close()
    assert (row["action"], row["object"], row["workspace_id"]) == ("limit.reset", "shop", DEFAULT_WORKSPACE)
    assert (row["principal"], row["correlation_id"], orjson.loads(row["details"])) == ("user:ada", "call-1", DETAILS)


def test_in_the_processs_own_log_without_one(tmp_path: Path, settings: dict[str, str], issuer: Issuer) -> None:
    with limiter_running(tmp_path / "limits", **settings) as limiter:
        assert reset(limiter, issuer, "call-2") == 1
