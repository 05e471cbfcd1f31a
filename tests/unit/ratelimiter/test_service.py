"""The servicer of our own API: who may ask about which domain, and what they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from ratelimiter.overrides.page_tokens import encode as encode_overrides
from ratelimiter.requests import LimitNumbers
from ratelimiter.rules import Rules
from tests.support.identities import as_editor, as_operator
from tests.support.limiter import EDGE, Limiter, check, descriptor
from tests.support.memory_overrides import MemoryOverrides
from tests.support.service import details_of, reason_of, status_of
from waypost.access.identity import Identity
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.audit import Action, AuditEntry
from waypost.clock import ServerClock
from waypost.errors import DependencyUnavailable
from waypost.model import DEFAULT_WORKSPACE, LimitEntry
from waypost.overrides import OverridePlace

RULE = "descriptors: [{key: address, rate_limit: {unit: minute, requests_per_unit: 2}}]"
MESH_RULES, OTHER_RULES = f"domain: waypost\n{RULE}", f"domain: other\n{RULE}"
ADDRESS = descriptor(address="192.0.2.7")

WORKSPACES = [UUID(int=11), UUID(int=12)]

RULES = """
domain: test
descriptors:
  - key: route
    value: create
    descriptors:
      - key: address
        rate_limit: {unit: second, requests_per_unit: 2}
  - key: tokens
    limits:
      - {unit: minute, requests_per_unit: 5, algorithm: token_bucket, burst: 9, consistency: local}
      - {unit: hour, multiplier: 2, requests_per_unit: 50, algorithm: sliding_window}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: quota, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: named, rate_limit: {name: small, unit: second, requests_per_unit: 1}}
  - {key: instead, rate_limit: {replaces: [{name: small}], unit: second, requests_per_unit: 3}}
"""


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that an error complains of."""
    return [violation.field for violation in details_of(status_of(error))["BadRequest"].field_violations]


async def test_nobody_spends_from_outside_what_the_mesh_holds_an_address_to() -> None:
    limiter = Limiter(MESH_RULES, OTHER_RULES)
    sentence = "waypost is decided inside the mesh; use a domain of your own rules"
    async with limiter.serving() as serving:
        mesh, other = check("waypost", ADDRESS, hits=2), check("other", ADDRESS)
        with pytest.raises(grpc.aio.AioRpcError, match=sentence) as raised:
            await serving.stub.Check(mesh, metadata=EDGE)
        assert (raised.value.code(), fields_of(raised.value)) == (grpc.StatusCode.INVALID_ARGUMENT, ["domain"])
        with pytest.raises(grpc.aio.AioRpcError, match=sentence) as raised:
            await serving.stub.BatchCheck(pb.BatchCheckRequest(requests=[other, mesh]), metadata=EDGE)
        assert fields_of(raised.value) == ["requests[1].domain"]
        with pytest.raises(grpc.aio.AioRpcError, match=sentence):
            await serving.stub.Explain(pb.ExplainRequest(domain="waypost", descriptors=[ADDRESS]), metadata=EDGE)
        assert limiter.told == []
        assert (await serving.stub.Check(check("waypost", ADDRESS))).statuses[0].remaining == 1
        answer = await serving.stub.Explain(pb.ExplainRequest(domain="waypost", descriptors=[ADDRESS]))
        assert answer.descriptors[0].limits[0].remaining == 1
    async with limiter.serving(as_operator()) as serving:
        request = pb.ExplainRequest(domain="waypost", descriptors=[ADDRESS])
        # Not those of the operator's own workspace.
        assert (await serving.stub.Explain(request, metadata=EDGE)).descriptors[0].limits[0].remaining == 1
        reset = pb.ResetRequest(domain="waypost", descriptors=[ADDRESS])
        assert (await serving.stub.Reset(reset, metadata=EDGE)).counters == 1


async def test_each_workspace_has_counters_of_its_own() -> None:
    limiter = Limiter(OTHER_RULES)
    for workspace_id in WORKSPACES:
        async with limiter.serving(as_editor(workspace_id)) as serving:
            first = await serving.stub.Check(check("other", ADDRESS, hits=2), metadata=EDGE)
            assert (first.allowed, first.statuses[0].remaining) == (True, 0)
            batch = pb.BatchCheckRequest(requests=[check("other", ADDRESS)])
            (refused,) = (await serving.stub.BatchCheck(batch, metadata=EDGE)).responses
            assert not refused.allowed
            explained = await serving.stub.Explain(pb.ExplainRequest(domain="other", descriptors=[ADDRESS]))
            assert not explained.allowed
    async with limiter.serving() as serving:
        assert (await serving.stub.Check(check("other", ADDRESS))).statuses[0].remaining == 1


async def test_which_other_rules_there_are_is_told_to_operators_and_inside() -> None:
    limiter = Limiter(MESH_RULES, OTHER_RULES)
    asked = [
        pb.ExplainRequest(domain="nowhere", descriptors=[ADDRESS]),
        pb.ExplainRequest(domain="other", descriptors=[descriptor(x="y")]),
    ]

    async def reasons(identity: Identity | None, metadata: Sequence[tuple[str, str]]) -> list[str]:
        async with limiter.serving(*([] if identity is None else [identity])) as serving:
            return [(await serving.stub.Explain(one, metadata=metadata)).descriptors[0].reason for one in asked]

    assert await reasons(as_editor(WORKSPACES[0]), EDGE) == [
        "no rules for the domain 'nowhere'",
        "no rule: below other nothing is for x=y",
    ]
    for identity, metadata in ((as_operator(), EDGE), (None, ())):
        told = await reasons(identity, metadata)
        assert told[0].endswith("; there are some for waypost, other")
        assert told[1].endswith("; there are other keys: address")


async def test_operators_reset_and_explain_the_counters_of_a_workspace() -> None:
    limiter = Limiter(OTHER_RULES)
    first, second = (str(workspace_id) for workspace_id in WORKSPACES)
    for workspace_id in WORKSPACES:
        async with limiter.serving(as_editor(workspace_id)) as serving:
            await serving.stub.Check(check("other", ADDRESS, hits=2), metadata=EDGE)
    async with limiter.serving(as_operator()) as serving:

        async def allowed(workspace_id: str) -> bool:
            request = pb.ExplainRequest(domain="other", descriptors=[ADDRESS], workspace_id=workspace_id)
            return (await serving.stub.Explain(request, metadata=EDGE)).allowed

        assert [await allowed(workspace_id) for workspace_id in (first, second, "")] == [False, False, True]
        reset = pb.ResetRequest(domain="other", descriptors=[ADDRESS, descriptor(none="")], workspace_id=first)
        assert (await serving.stub.Reset(reset, metadata=EDGE)).counters == 1
        assert [await allowed(workspace_id) for workspace_id in (first, second)] == [True, False]
        reset.workspace_id = "nobody"
        with pytest.raises(grpc.aio.AioRpcError, match="workspace_id: must be a workspace's id"):
            await serving.stub.Reset(reset, metadata=EDGE)
    async with limiter.serving(as_editor(WORKSPACES[0])) as serving:
        request = pb.ExplainRequest(domain="other", descriptors=[ADDRESS], workspace_id=first)
        assert (await serving.stub.Explain(request, metadata=EDGE)).allowed
        request.workspace_id = second
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.Explain(request, metadata=EDGE)
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_batch_is_answered_in_order() -> None:
    async with Limiter(RULES).serving() as serving:
        requests = [check("test", descriptor(route="create", address=who)) for who in "aabaab"]
        answer = await serving.stub.BatchCheck(pb.BatchCheckRequest(requests=requests))
        assert [one.allowed for one in answer.responses] == [True, True, True, False, False, True]
        assert [one.statuses[0].remaining for one in answer.responses] == [1, 0, 1, 0, 0, 0]
        full = pb.BatchCheckRequest(requests=[check("test", descriptor(none=str(number))) for number in range(1000)])
        assert len((await serving.stub.BatchCheck(full)).responses) == 1000


async def test_of_a_bad_batch_all_is_told_and_nothing_counted() -> None:
    limiter = Limiter(RULES)
    async with limiter.serving() as serving:
        good = check("test", descriptor(route="create", address="a"))
        requests = [good, check("", descriptor(free="")), good, check("test")]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.BatchCheck(pb.BatchCheckRequest(requests=requests))
        violations = details_of(status_of(raised.value))["BadRequest"].field_violations
        assert [(one.field, one.description) for one in violations] == [
            ("requests[1].domain", "rate limit domain must not be empty"),
            ("requests[3].descriptors", "rate limit descriptor list must not be empty"),
        ]
        for count, sentence in ((0, "requests: must not be empty"), (1001, "has more than 1,000 items")):
            with pytest.raises(grpc.aio.AioRpcError, match=sentence):
                await serving.stub.BatchCheck(pb.BatchCheckRequest(requests=[good] * count))
        assert (limiter.told, len(limiter.table)) == ([], 0)


async def test_messages_have_a_most_size() -> None:
    async with Limiter(RULES).serving() as serving:
        # Values of 4,096 bytes, as long as they may be, sixty of them.
        large = check("test", *[descriptor(free="x" * 4096)] * 60)
        assert (await serving.stub.Check(large)).allowed
        large.descriptors.extend([descriptor(free="x" * 4096)] * 5)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.Check(large)
        assert reason_of(raised.value)[0] == "REQUEST_TOO_LARGE"
        batch = pb.BatchCheckRequest(requests=[check("test", *[descriptor(free="x" * 4096)] * 60)] * 12)
        assert len((await serving.stub.BatchCheck(batch)).responses) == 12
        # Two bytes each: no more of them are looked at than it takes to see that there are too many.
        empty = pb.CheckRequest(domain="test", descriptors=[pb.RateLimitDescriptor()] * 100_000)
        with pytest.raises(grpc.aio.AioRpcError, match="descriptors: must be at most 100"):
            await serving.stub.Check(empty)


class Overridden:
    """One override, for any descriptor that begins with `named`."""

    def find(self, domain: str, entries: Sequence[LimitEntry]) -> LimitNumbers | None:
        return LimitNumbers(7, 1_000_000) if entries[0].key == "named" else None


async def test_explain_says_what_a_check_would_answer_and_why() -> None:
    limiter = Limiter(RULES, strict=True, overrides=Overridden())
    async with limiter.serving() as serving:
        asked = [
            descriptor(route="create", address="192.0.2.7"),
            descriptor(tokens="x"),
            descriptor(free="x"),
            descriptor(none="x"),
            descriptor(named="x"),
            descriptor(shadow="x"),
        ]
        for _ in range(2):
            assert (await serving.stub.Check(check("test", *asked))).allowed
        limiter.book.generation = 5
        answer = await serving.stub.Explain(pb.ExplainRequest(domain="test", descriptors=asked, hits_addend=1))
        assert (answer.allowed, answer.generation) == (False, 5)
        limited, tokens, free, none, named, shadow = answer.descriptors
        assert (limited.rule, limited.overridden) == ("test.route_create.address", False)
        assert "test.route_create.address" in limited.reason
        (limit,) = limited.limits
        assert (limit.algorithm, limit.limit, limit.burst, limit.consistency) == ("fixed_window", 2, 2, "strict")
        assert (limit.allowed, limit.remaining, limit.window.seconds) == (False, 0, 1)
        assert limit.reset_after.nanos == 749_999_000
        assert [(entry.key, entry.value) for entry in limit.counter] == [("route", "create"), ("address", "192.0.2.7")]
        bucket, sliding = tokens.limits
        assert (bucket.algorithm, bucket.limit, bucket.burst, bucket.consistency) == ("token_bucket", 5, 9, "local")
        assert (bucket.allowed, bucket.remaining, sliding.remaining, sliding.window.seconds) == (True, 7, 48, 7200)
        assert (free.rule, list(free.limits)) == ("test.free", [])
        assert (none.rule, list(none.limits)) == ("", [])
        assert "none=x" in none.reason
        assert (named.overridden, named.limits[0].limit, named.limits[0].remaining) == (True, 7, 5)
        assert "override" in named.reason
        assert (shadow.rule, shadow.limits[0].allowed) == ("test.shadow", False)
        # Nothing of that counts.
        again = await serving.stub.Explain(pb.ExplainRequest(domain="test", descriptors=asked, hits_addend=1))
        assert again == answer
        replaced = [descriptor(instead="x"), descriptor(named="x")]
        answer = await serving.stub.Explain(pb.ExplainRequest(domain="test", descriptors=replaced))
        assert (answer.allowed, answer.descriptors[1].rule, list(answer.descriptors[1].limits)) == (True, "", [])
        assert "replaces it" in answer.descriptors[1].reason
        limiter.store.fails = True
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.Explain(pb.ExplainRequest(domain="test", descriptors=asked))
        assert (raised.value.code(), reason_of(raised.value)[1]["dependency"]) == (
            grpc.StatusCode.UNAVAILABLE,
            "redis",
        )


async def test_list_rules() -> None:
    limiter = Limiter(RULES, OTHER_RULES)
    limiter.book.refuse(["limits/a.yaml: is not valid YAML"])
    async with limiter.serving(as_operator()) as serving:
        answer = await serving.stub.ListRules(pb.ListRulesRequest())
        assert [(rule.domain, rule.rule) for rule in answer.rules] == [
            ("test", "test.route_create.address"),
            ("test", "test.tokens"),
            ("test", "test.free"),
            ("test", "test.shadow"),
            ("test", "test.quota"),
            ("test", "test.named"),
            ("test", "test.instead"),
            ("other", "other.address"),
        ]
        modes = {rule.rule for rule in answer.rules if rule.shadow_mode}, {r.rule for r in answer.rules if r.quota_mode}
        assert modes == ({"test.shadow"}, {"test.quota"})
        bucket, sliding = answer.rules[1].limits
        assert bucket == pb.RateLimit(
            algorithm="token_bucket", limit=5, window=Duration(seconds=60), burst=9, consistency="local"
        )
        assert (sliding.window.seconds, sliding.burst, sliding.consistency) == (7200, 50, "strict")
        assert list(answer.rules[2].limits) == []
        assert (answer.generation, answer.loaded_at.seconds) == (1, 1_767_312_000)
        assert list(answer.problems) == ["limits/a.yaml: is not valid YAML"]
        one = await serving.stub.ListRules(pb.ListRulesRequest(domain="other"))
        assert [rule.rule for rule in one.rules] == ["other.address"]
        assert not (await serving.stub.ListRules(pb.ListRulesRequest(domain="nobody's"))).rules


async def test_rules_are_listed_in_pages() -> None:
    limiter = Limiter(RULES, OTHER_RULES)
    async with limiter.serving(as_operator()) as serving:
        whole = await serving.stub.ListRules(pb.ListRulesRequest())
        for size in (1, 3, 7, 8):
            request, listed = pb.ListRulesRequest(page_size=size), []
            while True:
                page = await serving.stub.ListRules(request)
                assert (page.generation, page.loaded_at) == (whole.generation, whole.loaded_at)
                listed.append(list(page.rules))
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
            assert [rule for page in listed for rule in page] == list(whole.rules)
            assert all(len(page) == size for page in listed[:-1])
            assert listed[-1]
        one = await serving.stub.ListRules(pb.ListRulesRequest(domain="test", page_size=6))
        rest = await serving.stub.ListRules(pb.ListRulesRequest(domain="test", page_token=one.next_page_token))
        assert ([rule.rule for rule in rest.rules], rest.next_page_token) == (["test.instead"], "")


@pytest.mark.parametrize("audited", [True, False])
async def test_who_resets_is_noted(audited: bool) -> None:
    audit = MemoryOverrides(ServerClock())
    limiter = Limiter(OTHER_RULES, audit=audit if audited else None, strict=True)
    call = (*EDGE, ("x-correlation-id", "call-1"))
    async with limiter.serving(as_operator()) as serving:
        await serving.stub.Check(check("other", ADDRESS), metadata=EDGE)
        descriptors = [ADDRESS, descriptor(route="a", key="b")]
        workspace_id = str(as_operator().workspace_id)
        reset = pb.ResetRequest(domain="other", descriptors=descriptors, workspace_id=workspace_id)
        assert (await serving.stub.Reset(reset, metadata=call)).counters == 1
        details = {
            "domain": "other",
            "descriptors": '[[["address", "192.0.2.7"]], [["route", "a"], ["key", "b"]]]',
            "descriptor_count": "2",
            "workspace_id": workspace_id,
        }
        (line,) = serving.service.log.of("limit_reset")
        assert {name: line[name] for name in details} == details
        assert (line["counters"], line["principal"], line["correlation_id"]) == (1, "user:ada", "call-1")
        entry = AuditEntry(
            DEFAULT_WORKSPACE, "user:ada", as_operator().address, Action.LIMIT_RESET, "other", "call-1", details
        )
        assert audit.entries == [entry] * audited
        # What is refused was not done; what fails may have been, in part.
        with pytest.raises(grpc.aio.AioRpcError):
            await serving.stub.Reset(pb.ResetRequest(domain="other"), metadata=call)
        assert len(audit.entries) == audited
        limiter.store.fails = True
        with pytest.raises(grpc.aio.AioRpcError):
            await serving.stub.Reset(reset, metadata=call)
        assert audit.entries == [entry] * 2 * audited
        assert [line["counters"] for line in serving.service.log.of("limit_reset")] == [1, None]


async def test_nothing_is_reset_that_cannot_be_noted() -> None:
    class Away:
        async def record(self, entry: AuditEntry) -> None:
            raise DependencyUnavailable("postgres")

    limiter = Limiter(OTHER_RULES, audit=Away())
    async with limiter.serving(as_operator()) as serving:
        await serving.stub.Check(check("other", ADDRESS, hits=2))
        reset = pb.ResetRequest(domain="other", descriptors=[ADDRESS], workspace_id=str(as_operator().workspace_id))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.Reset(reset)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not (await serving.stub.Check(check("other", ADDRESS))).allowed
        assert serving.service.log.of("limit_reset") == []


async def test_a_page_holds_what_one_message_can() -> None:
    descriptors = "".join(f"  - {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n" for n in range(6000))
    long = f"domain: long\ndescriptors: [{{key: k, value: &v {'v' * 4096}, descriptors: ["
    long += ", ".join(f"{{key: k{n}, value: *v, rate_limit: {{unit: day, requests_per_unit: 1}}}}" for n in range(300))
    limiter = Limiter(f"domain: many\ndescriptors:\n{descriptors}", f"{long}]}}]")
    async with limiter.serving(as_operator()) as serving:
        default = await serving.stub.ListRules(pb.ListRulesRequest())
        largest = await serving.stub.ListRules(pb.ListRulesRequest(domain="many", page_size=2**31 - 1))
        assert (len(default.rules), len(largest.rules)) == (500, 5000)
        first = await serving.stub.ListRules(pb.ListRulesRequest(domain="long", page_size=5000))
        assert 2 * 1024**2 < first.ByteSize() < 4 * 1024**2
        rest = await serving.stub.ListRules(pb.ListRulesRequest(domain="long", page_token=first.next_page_token))
        assert len(first.rules) + len(rest.rules) == 300


async def test_a_page_token_is_for_the_rules_and_the_domain_that_it_came_with() -> None:
    limiter = Limiter(RULES, OTHER_RULES)
    async with limiter.serving(as_operator()) as serving:
        token = (await serving.stub.ListRules(pb.ListRulesRequest(page_size=2))).next_page_token
        of_overrides = encode_overrides(OverridePlace(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)), "")

        async def refused(request: pb.ListRulesRequest) -> tuple[list[str], str]:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await serving.stub.ListRules(request)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            return fields_of(raised.value), raised.value.details() or ""

        fields, said = await refused(pb.ListRulesRequest(domain="test", page_token=token))
        assert (fields, "came with another domain" in said) == (["page_token"], True)
        for text in ("x", token[:-1], of_overrides):
            fields, said = await refused(pb.ListRulesRequest(page_token=text))
            assert (fields, "is no token of this server" in said) == (["page_token"], True)
        fields, _ = await refused(pb.ListRulesRequest(page_size=-1, page_token="x"))
        assert fields == ["page_size", "page_token"]
        # Another replica has the same files, or they were only touched.
        limiter.book.replace(Rules.parse({"renamed": RULES, "z": OTHER_RULES}), datetime(2026, 1, 3, tzinfo=UTC))
        page = await serving.stub.ListRules(pb.ListRulesRequest(page_token=token))
        assert (page.rules[0].rule, page.generation) == ("test.free", 2)
        limiter.book.replace(Rules.parse({"a": RULES, "b": OTHER_RULES + "\n"}), datetime(2026, 1, 4, tzinfo=UTC))
        fields, said = await refused(pb.ListRulesRequest(page_token=token))
        assert (fields, "came with other rules than are in force now" in said) == (["page_token"], True)


async def test_who_has_no_workspace_counts_with_the_mesh_only_inside() -> None:
    # Access control lets nobody else through: credentials stand for a workspace, or they are refused.
    async with Limiter(OTHER_RULES).serving(Identity("mesh")) as serving:
        assert (await serving.stub.Check(check("other", ADDRESS, hits=2))).allowed
        assert not (await serving.stub.Check(check("other", ADDRESS))).allowed


async def test_a_batch_from_outside_is_charged_to_its_caller_by_its_descriptors() -> None:
    own = """
domain: waypost
descriptors:
  - key: route_class
    value: check
    descriptors:
      - key: principal
        rate_limit: {unit: minute, requests_per_unit: 7, algorithm: token_bucket}
"""
    limiter = Limiter(own, OTHER_RULES)
    # The chain has charged each call for one.
    batch = pb.BatchCheckRequest(requests=[check("other", ADDRESS, descriptor(none="x"))] * 2)
    async with limiter.serving(as_editor(WORKSPACES[0])) as serving:
        for _ in range(2):
            await serving.stub.BatchCheck(batch, metadata=EDGE)
        told = len(limiter.told)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.stub.BatchCheck(batch, metadata=EDGE)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [status.rule for status in limiter.told[-1].result.statuses][:1] == [
            "waypost.route_class_check.principal"
        ]
        assert len(limiter.told) == told + 1, "what was refused was not decided"
    async with limiter.serving() as serving:
        assert len((await serving.stub.BatchCheck(batch)).responses) == 2, "the mesh's own are not limited"
