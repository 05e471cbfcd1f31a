"""Rate limits by the compiled handlers: what they decide by, and what their decisions tell metrics, log and operators.

They take what is decided in this process by plain rules, and pass the rest up: what the store counts to who asks that
(`ratelimiter.store_answers`), the rest to the servicers: requests that meet rules of both kinds, rules whose metrics
name values of requests, rules that replace others, descriptors with overrides, and what
`native._answering` finds unusual. Counters are those of the same table, the clock is the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import grpc
import structlog
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter

from native import RuleTree, Table
from native._answers import LimitAnswers
from native._plan import Plan
from native._server import Server
from native.plan import Event, PlannedLimit, PlannedRule
from native.rules import Node
from ratelimiter import envoy_service, service
from ratelimiter.asking import mode_of
from ratelimiter.convert import from_check_request
from ratelimiter.envoy_convert import from_rate_limit_request, unit_of
from ratelimiter.metrics import ALLOWED, LOCAL, NO_RULE, REFUSED, SHADOW_REFUSED, STORE, DecisionMetrics
from ratelimiter.offenders import Offenders
from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.requests import LimitRequest
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Numbered, Rules
from ratelimiter.ruletree import Consistency
from waypost.access.identity import MESH
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.clock import SteadyClock
from waypost.limit_headers import quoted
from waypost.overrides import LiveOverride
from waypost.rpc import chain

LOOK_SECONDS = 0.1
"""Between two looks at what the threads have left."""

ENVOY, CHECK = 0, 1
"""The methods, as events have them."""
METHODS = (envoy_service.METHOD, f"{service.NAME}/Check")


KeyBeginning = Callable[[str, tuple[str, ...]], tuple[bytes, int]]
"""How the keys of a rule's counters in the store begin, by its domain and identity, and what they have room for."""


@dataclass(frozen=True, slots=True)
class CompiledOptions:
    """How the servicers answer, which the compiled handlers answer alike.

    `shared`: there is a store for strict limits. `headers`, `shadow_mode`, `log_every`: the settings of these names,
    the last for either method by itself. `traced`: spans are recorded.
    """

    shared: bool = False
    headers: bool = True
    shadow_mode: bool = False
    log_every: int = 1000
    traced: bool = False


class CompiledChecks:
    """Keeps the compiled handlers up with `book` and `overrides`, and hears what they did.

    All but `prepare` is for the thread of the event loop. `key_beginning`: of the store that counts strict limits,
    where compiled code is to ask that, too.
    """

    def __init__(
        self,
        book: RuleBook,
        table: Table,
        clock: SteadyClock,
        metrics: DecisionMetrics,
        offenders: Offenders,
        registry: CollectorRegistry,
        *,
        overrides: LiveOverrides | None = None,
        options: CompiledOptions = CompiledOptions(),
        key_beginning: KeyBeginning | None = None,
    ) -> None:
        self._table = table
        self._key_beginning = key_beginning
        self._clock = clock
        self._metrics = metrics
        self._offenders = offenders
        self._options = options
        self._dropped = Counter(
            "hot_port_events_dropped",
            "Calls answered by compiled handlers of which the log, or the list of offenders, should have heard.",
            registry=registry,
        )
        # Refusals that were dropped, and are yet to be counted for others.
        self._unnamed = 0
        self._log = chain.log_calls(structlog.get_logger())
        self._domains: frozenset[str] = frozenset()
        self._overridden: tuple[RuleTree | None, bytes] = (None, b"")
        self._plan = self._planned(book.rules)
        # Those in force, or perhaps still read by a thread; by their numbers.
        self._read = {self._plan.serial: (self._plan, book.rules)}
        self.answers = LimitAnswers(
            table,
            self._plan,
            epoch_ns=clock.epoch_ns,
            headers=options.headers,
            shadow_mode=options.shadow_mode,
            log_every=options.log_every,
            traced=options.traced,
        )
        metrics.follow(self._count_all)
        if overrides is not None:
            overrides.follow(self._override)

    def register(self, server: Server, *, envoy: bool = True) -> None:
        """Has a server's calls answered, before it starts. `envoy`: also Envoy's own, which may want what only the
        servicer gives (dynamic metadata).
        """
        self.answers.register(server, envoy=envoy)

    def prepare(self, rules: Rules) -> Callable[[], None]:
        """Makes a plan of new rules; what it returns puts that in force. From any thread; raises `MemoryError`."""
        return partial(self._put_in_force, rules, self._planned(rules))

    def publish(self, rules: Rules) -> None:
        """Puts new rules in force; if it raises, the old ones stay."""
        self.prepare(rules)()

    def pass_up(self) -> None:
        """From now on the servicers answer everything: the process is leaving, and the chain says so."""
        self.answers.pass_up()

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Tells log and offenders of the calls since the last time, and lets go of what no thread reads any more."""
        # In this order: what nobody reads by now brings no more events than these.
        read = self.answers.sweep()
        events, dropped, refused = self.answers.take_events()
        self._dropped.inc(dropped)
        self._tell(events, refused)
        for serial in self._read.keys() - read:
            plan, rules = self._read.pop(serial)
            self._count(plan, rules)

    def count_offenders(self, envoy: bool, message: bytes, serial: int, refused: int) -> None:
        """Counts the descriptors, a bit for each, that have refused a request, by the plan with this number."""
        _, rules = self._read[serial]
        self._count_refused(ENVOY if envoy else CHECK, message, refused, rules, 1)

    def _planned(self, rules: Rules) -> Plan:
        planned = (_planned(one, self._options, self._key_beginning) for one in rules.numbered)
        return Plan(self._table, rules.tree, planned, self._clock())

    def _put_in_force(self, rules: Rules, plan: Plan) -> None:
        self._plan = plan
        self._read[plan.serial] = (plan, rules)
        self.answers.publish(plan, *self._overridden)

    def _override(self, overrides: Mapping[bytes, LiveOverride]) -> None:
        tree, _ = self._overridden
        domains = frozenset(one.domain for one in overrides.values())
        if domains != self._domains:
            self._domains = domains
            tree = RuleTree({domain: Node(domain) for domain in domains}) if domains else None
        self._overridden = (tree, b"".join(sorted(overrides)))
        self.answers.publish(self._plan, *self._overridden)

    def _tell(self, events: Sequence[Event], dropped: int) -> None:
        refusals = sum(event.refused != 0 for event in events)
        # What was dropped came with these: each stands for as many.
        share, rest = divmod(self._unnamed + dropped, refusals) if refusals else (0, self._unnamed + dropped)
        self._unnamed = rest
        for event in events:
            if event.logged:
                self._log(_record(event))
            if event.refused:
                self._count_offenders(event, 1 + share)

    def _count_offenders(self, event: Event, hits: int) -> None:
        _, rules = self._read[event.serial]
        self._count_refused(event.method, event.message, event.refused, rules, hits)

    def _count_refused(self, method: int, message: bytes, refused: int, rules: Rules, hits: int) -> None:
        try:
            request = _request(method, message)
        except DecodeError:
            # Its caller has been answered, and who that was cannot be said: no reason to answer nobody from now on.
            self._dropped.inc()
            return
        for index, descriptor in enumerate(request.descriptors):
            if refused >> index & 1:
                match = rules.match(request.domain, descriptor.entries)
                if match is not None:
                    self._offenders.add(match, hits=hits)

    def _count_all(self) -> None:
        for plan, rules in self._read.values():
            self._count(plan, rules)

    def _count(self, plan: Plan, rules: Rules) -> None:
        for mode, store in ((LOCAL, False), (STORE, True)):
            for number, *counts in plan.take_counts(store):
                place = rules.numbered[number].rule.place if number < len(rules.numbered) else NO_RULE
                for decision, count in zip((ALLOWED, REFUSED, SHADOW_REFUSED), counts, strict=True):
                    if count:
                        self._metrics.add(place, decision, mode, count)


def _planned(numbered: Numbered, options: CompiledOptions, key_beginning: KeyBeginning | None) -> PlannedRule | None:
    """None: the servicers decide by this rule."""
    rule = numbered.rule
    strict = options.shared and any(limit.consistency is Consistency.STRICT for limit in rule.limits)
    # Rules that it replaces need no mark of their own: they count wherever this one does not stand beside them.
    if numbered.names_values or rule.replaces or (strict and key_beginning is None):
        return None
    limits = []
    for one in rule.limits:
        # The first of a rule's names is its domain's.
        key, room = key_beginning(one.identity[0], one.identity) if strict and key_beginning else (b"", 0)
        mode, unit = mode_of(rule, one, options.shadow_mode), unit_of(one.limit.window_us)
        limits.append(PlannedLimit(one.identity, one.limit, mode, unit, key, room))
    name = quoted(rule.name or rule.place)
    return PlannedRule(rule.place, rule.name, name, rule.shadow_mode, rule.quota_mode, tuple(limits), strict)


def _request(method: int, message: bytes) -> LimitRequest:
    if method == ENVOY:
        return from_rate_limit_request(rls_pb2.RateLimitRequest.FromString(message))
    return from_check_request(pb.CheckRequest.FromString(message))


def _record(event: Event) -> chain.CallRecord:
    return chain.CallRecord(
        method=METHODS[event.method],
        code=grpc.StatusCode.OK,
        seconds=event.seconds,
        request_bytes=len(event.message),
        response_bytes=event.response_bytes,
        correlation_id=event.correlation_id,
        peer=event.peer,
        error=None,
        # Others come through the edge, and that to Python.
        principal=MESH,
    )
