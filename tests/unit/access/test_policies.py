"""The one table of authorization against the contract: nothing is served that it lacks, and it has nothing else."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise

import pytest
import yaml

from tests.support.contract import full_name, methods
from waypost.access.identity import ROLE_SCOPES, Role, Scope
from waypost.access.policies import POLICIES, LimitClass, Objects, Policy

WORKSPACE: dict[LimitClass, list[str]] = {LimitClass.REPORT: []}
"""What is no workspace's is not limited by one."""
METHODS = sorted(map(full_name, methods()))
ENVOYS_OWN = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
"""The one method that is not of our contract."""


def test_every_method_of_the_contract_has_a_policy_and_every_policy_a_method() -> None:
    assert METHODS
    assert sorted(POLICIES) == sorted([*METHODS, ENVOYS_OWN])


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        POLICIES["/waypost.api.v1.LinkService/GetLink"] = Policy(  # type: ignore[index]
            None, Objects.NONE, LimitClass.NONE
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_policy_holds_together(name: str) -> None:
    policy = POLICIES[name]
    if policy.objects in (Objects.WORKSPACE, Objects.MESH):
        assert policy.scope is not None, "whose objects are somebody's is not open to everybody"
    if policy.objects is Objects.MESH:
        holders = {role for role, scopes in ROLE_SCOPES.items() if policy.scope in scopes}
        assert holders == {Role.OPERATOR}, "what is all workspaces' is for operators"
    if policy.objects is Objects.WORKSPACE:
        assert Role.OWNER in {role for role, scopes in ROLE_SCOPES.items() if policy.scope in scopes}
    if policy.scope is None:
        assert policy.limit is not LimitClass.NONE, "what is open to everybody is limited"
    if policy.anonymous:
        assert (policy.scope, policy.limit) == (Scope.LINKS_WRITE, LimitClass.CREATE), "the one thing strangers may do"
    if policy.inside:
        assert policy.objects is Objects.NONE, "past the edge there is no way to anybody's objects"
    assert 0 < policy.seconds <= 30


def test_what_is_open_to_everybody_is_exactly_this() -> None:
    assert {name.rpartition("/")[2] for name, policy in POLICIES.items() if policy.scope is None} == {
        "ResolveLink",
        "ListWorkspaces",
        "GetCaller",
        "ReportLink",
    }
    limits = "/waypost.api.v1.RateLimitService"
    assert {name for name, policy in POLICIES.items() if policy.inside} == {
        f"{limits}/Check",
        f"{limits}/BatchCheck",
        f"{limits}/Explain",
        ENVOYS_OWN,
    }


def test_who_changes_something_is_not_let_in_by_a_right_to_read() -> None:
    for name, policy in POLICIES.items():
        if policy.scope is not None and policy.scope.endswith(":read"):
            assert name.rpartition("/")[2].startswith(("Get", "List", "Check")), name


def test_each_role_may_do_all_that_the_one_below_may() -> None:
    order = [Role.VIEWER, Role.EDITOR, Role.OWNER, Role.OPERATOR]
    assert order == list(Role)
    for lower, higher in pairwise(order):
        assert ROLE_SCOPES[lower] < ROLE_SCOPES[higher]
    assert ROLE_SCOPES[Role.OPERATOR] == frozenset(Scope)


def test_every_scope_is_asked_for_by_some_method() -> None:
    assert {policy.scope for policy in POLICIES.values()} - {None} == set(Scope)


CHARGED = ("remote_address", "principal", "workspace")
"""What the gateway charges a call to; the edge knows the address alone (`masked_remote_address`)."""


def test_every_limit_class_has_rules_for_strangers_for_who_is_known_for_workspaces_and_at_the_edge() -> None:
    rules = yaml.safe_load(files("ratelimiter").joinpath("limits/waypost.yaml").read_text())
    assert rules["domain"] == "waypost"
    found = {
        rule["value"]: {inner["key"] for inner in rule["descriptors"] if inner["rate_limit"]["requests_per_unit"] > 0}
        for rule in rules["descriptors"]
        if rule["key"] == "route_class"
    }
    expected = {limit.value: {*CHARGED, "masked_remote_address"} for limit in LimitClass}
    del expected[LimitClass.NONE.value]
    # Reports are anybody's, of any link.
    expected[LimitClass.REPORT.value].remove("workspace")
    assert found == expected
