"""The rate limiter's composition root: the only file that names adapters."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

import native
from native import Table
from ratelimiter import envoy_service, service
from ratelimiter.envoy_service import EnvoyRateLimitService
from ratelimiter.handlers import Checker
from ratelimiter.metrics import DecisionMetrics, DoubtMetrics, ObservedStore, TableMetrics
from ratelimiter.offenders import Offenders
from ratelimiter.overrides.handlers import OverrideHandlers
from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.overrides.service import LimitOverrideService
from ratelimiter.own_limiter import OwnLimiter
from ratelimiter.reload import RuleWatch
from ratelimiter.requests import MAX_BATCH
from ratelimiter.rules import RulesError
from ratelimiter.service import RateLimitService
from ratelimiter.settings import Settings
from waypost.access.policies import POLICIES
from waypost.adapters.access import access_control
from waypost.adapters.overrides import followed_overrides
from waypost.adapters.redis_counters import RedisCounters
from waypost.clock import ServerClock, SteadyClock
from waypost.rpc import tracing
from waypost.rpc.access import Limits
from waypost.rpc.health import Check
from waypost.rpc.hot_process import CompiledHandlers
from waypost.rpc.methods import MessageCap, Shortcut
from waypost.rpc.process import Service, serve
from waypost.rpc.told_limits import ToldLimits
from waypost.settings import BadSettings
from waypost.telemetry import Metrics

if TYPE_CHECKING:  # which may not have been built
    from ratelimiter.compiled import CompiledChecks

OFTEN = (envoy_service.METHOD, f"{service.NAME}/Check")
"""Asked so often that of calls that go well only some are logged."""

ONE_REQUEST = MessageCap(256 * 1024)
MESSAGE_CAPS = {
    envoy_service.METHOD: ONE_REQUEST,
    f"{service.NAME}/Check": ONE_REQUEST,
    f"{service.NAME}/Explain": ONE_REQUEST,
    f"{service.NAME}/Reset": ONE_REQUEST,
    "/waypost.api.v1.LimitOverrideService/SetOverride": ONE_REQUEST,
    # As the edge has it for batches.
    f"{service.NAME}/BatchCheck": MessageCap(3 * 1024 * 1024, MAX_BATCH, "requests"),
}


class Store(NamedTuple):
    """Where strict limits are counted, and the same with its decisions timed."""

    redis: RedisCounters
    observed: ObservedStore


async def run(settings: Settings) -> None:
    """Runs the rate limiter until it is told to stop; raises `BadSettings` for rules that do not load."""
    metrics = Metrics("ratelimiter")
    rules = watched_rules(settings, metrics.registry)
    reread_on_hangup(rules)
    table = Table(settings.table_capacity)
    metrics.registry.register(TableMetrics(table))
    clock, clock_us = ServerClock(), SteadyClock()
    overrides = LiveOverrides(clock)
    watch_overrides(metrics.registry, overrides)
    offenders = Offenders(clock_us)
    decisions = DecisionMetrics(metrics.registry)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(access_control(settings, "ratelimiter", clock))
        followed = await stack.enter_async_context(
            followed_overrides(settings.limiter_dsn(), "ratelimiter", overrides.replace, clock)
        )
        store = await counter_store(stack, settings, metrics.registry)
        checker = Checker(
            rules.book,
            table,
            clock_us,
            None if store is None else store.observed,
            overrides,
            shadow_mode=settings.limits_shadow_mode,
            listeners=[decisions.on_decision, offenders.on_decision],
        )
        compiled: CompiledChecks | None = None
        if native.HOT_PORT and settings.hot_ports:
            compiled = compiled_checks(
                settings, rules, table, clock_us, decisions, offenders, metrics, overrides, store
            )
        own = ToldLimits(OwnLimiter(checker))
        rate_limits = RateLimitService(checker, rules.book, own, followed.store)
        envoy_rate_limits = EnvoyRateLimitService(
            checker,
            headers=settings.response_headers,
            metadata=settings.dynamic_metadata,
            shadow_mode=settings.limits_shadow_mode,
        )
        await serve(
            Service(
                name="ratelimiter",
                settings=settings,
                control_port=settings.control_port,
                hot_port=settings.hot_port,
                metrics_port=settings.metrics_port,
                servicers=[
                    rate_limits,
                    envoy_rate_limits,
                    LimitOverrideService(OverrideHandlers(followed.store, clock)),
                ],
                gate=[control.gate, Limits(own, POLICIES, edge_only=True)],
                message_caps=MESSAGE_CAPS,
                sampled=dict.fromkeys(OFTEN, settings.log_every),
                compiled=None if compiled is None else handlers_of(compiled, settings),
                shortcuts=shortcuts_of(compiled, store, rate_limits, envoy_rate_limits, settings),
                metrics=metrics,
                checks=[
                    rules.check,
                    *([] if store is None else [Check("redis", store.observed.check, required=False)]),
                    *control.checks,
                    *followed.checks,
                ],
                tasks=[rules.run, *control.tasks, *followed.tasks, *([] if compiled is None else [compiled.run])],
                pages={"/offenders": offenders.page},
                # Only when it serves: who cannot start has one thing to say.
                on_ports=lambda _: say_what_runs(settings),
            )
        )


def compiled_checks(
    settings: Settings,
    rules: RuleWatch,
    table: Table,
    clock: SteadyClock,
    decisions: DecisionMetrics,
    offenders: Offenders,
    metrics: Metrics,
    overrides: LiveOverrides,
    store: Store | None,
) -> CompiledChecks:
    """The compiled handlers, which follow the rules and overrides and answer as the servicers do."""
    from ratelimiter.compiled import CompiledChecks, CompiledOptions

    compiled = CompiledChecks(
        rules.book,
        table,
        clock,
        decisions,
        offenders,
        metrics.registry,
        overrides=overrides,
        options=CompiledOptions(
            shared=store is not None,
            headers=settings.response_headers,
            shadow_mode=settings.limits_shadow_mode,
            log_every=settings.log_every,
            traced=tracing.enabled(),
        ),
        key_beginning=None if store is None else store.redis.key_beginning,
    )
    rules.follow(compiled.prepare)
    return compiled


def handlers_of(compiled: CompiledChecks, settings: Settings) -> CompiledHandlers:
    """What the hot port is told of them. Dynamic metadata is the servicer's to give."""
    return CompiledHandlers(partial(compiled.register, envoy=not settings.dynamic_metadata), compiled.pass_up)


def shortcuts_of(
    compiled: CompiledChecks | None,
    store: Store | None,
    rate_limits: RateLimitService,
    envoy_rate_limits: EnvoyRateLimitService,
    settings: Settings,
) -> Mapping[str, Shortcut]:
    """What answers strict limits with half of the work in compiled code."""
    if compiled is None or store is None:
        return {}
    from ratelimiter.store_answers import StoreAnswers

    answers = StoreAnswers(
        compiled,
        store.redis,
        store.observed.observe,
        check_without_store=rate_limits.without_store,
        envoy_without_store=envoy_rate_limits.without_store,
    )
    return answers.shortcuts(envoy=not settings.dynamic_metadata)


async def counter_store(stack: AsyncExitStack, settings: Settings, registry: CollectorRegistry) -> Store | None:
    """Where strict limits are counted, for as long as `stack` lasts; None: in this process. Raises `BadSettings`."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return None
    try:
        redis = RedisCounters(url, settings.store_timeout_ms / 1000)
    except ValueError as error:
        raise BadSettings([f"WAYPOST_REDIS_URL {error}"]) from None
    registry.register(DoubtMetrics(lambda: redis.doubts))
    return Store(await stack.enter_async_context(redis), ObservedStore(redis, registry))


def say_what_runs(settings: Settings) -> None:
    """Says in the log by what limits are decided, where that is less than it could be."""
    log = structlog.get_logger()
    if native.COMPILED:
        log.info("compiled core", detail="limits are decided by the compiled core")
    else:
        log.warning(
            "plain core",
            detail=f"the compiled core {native.WHY_PLAIN}: limits are decided by its plain twin, which gives the same "
            "answers but takes many times as long, and ten times the memory. To have it: python setup.py build_ext "
            "--inplace",
        )
    if not settings.redis_url.get_secret_value():
        log.info(
            "strict limits are local",
            detail="WAYPOST_REDIS_URL is not set: each replica counts by itself also what is to be counted for all "
            "replicas together",
        )
    if settings.limits_shadow_mode:
        log.warning("shadow mode", detail="WAYPOST_LIMITS_SHADOW_MODE is set: no limit refuses anything")


def watched_rules(settings: Settings, registry: CollectorRegistry) -> RuleWatch:
    """The rules, which follow their folder, and their metrics. Raises `BadSettings` for rules that do not load."""
    failures = Counter("ratelimit_rules_reload_failures", "Changed rules that were refused.", registry=registry)
    try:
        watch = RuleWatch(
            settings.rules_folder(),
            merge_domains=settings.limits_merge_domains,
            judged=lambda book: failures.inc() if book.problems else None,
        )
    except RulesError as error:
        raise BadSettings([f"WAYPOST_LIMITS_DIR: {problem}" for problem in error.problems]) from None
    book = watch.book
    Gauge("ratelimit_rules_generation", "Version of the rules in force.", registry=registry).set_function(
        lambda: book.generation
    )
    Gauge(
        "ratelimit_rules_loaded_timestamp_seconds", "When the rules in force were loaded.", registry=registry
    ).set_function(
        lambda: book.loaded_at.timestamp()  # noqa: PLW0108 - of the version in force by then
    )
    return watch


def reread_on_hangup(rules: RuleWatch) -> None:
    """Has the rules read at once on SIGHUP, which without this would end the process."""
    # Not in the main thread nobody signals us.
    with suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, rules.ask)


def watch_overrides(registry: CollectorRegistry, overrides: LiveOverrides) -> None:
    """Exports how many overrides are in force."""
    Gauge("ratelimit_overrides", "Overrides in force.", registry=registry).set_function(overrides.count)
