"""The gateway's composition root: the only file that names adapters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.handlers import AbuseHandlers
from gateway.abuse.service import AbuseService
from gateway.accounts.handlers.audit import AuditHandlers
from gateway.accounts.handlers.keys import KeyHandlers
from gateway.accounts.handlers.members import MemberHandlers
from gateway.accounts.handlers.workspaces import WorkspaceHandlers
from gateway.accounts.services import AuditService, KeyService, MemberService, WorkspaceService
from gateway.cache import FEED_TIMEOUT, CacheMetrics, RedirectCache
from gateway.codes import CodeSource
from gateway.following import RedirectHandlers
from gateway.handlers import MAX_BATCH, LinkHandlers
from gateway.intake import Intake
from gateway.rules import LinkRules
from gateway.service import LinkService
from gateway.settings import Settings
from gateway.transactions import Transactions
from gateway.visits import VisitMetrics
from gateway.web import web_app
from waypost.access.failures import Failures
from waypost.access.policies import POLICIES, LimitClass
from waypost.adapters.access import AccessControl, access_control
from waypost.adapters.change_feed import PostgresChangeFeed
from waypost.adapters.memory import MemoryLimiter
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_abuse import PostgresAbuse, PostgresReportIntake
from waypost.adapters.postgres_accounts import PostgresAccountReader
from waypost.adapters.postgres_audit import PostgresAuditReader
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.adapters.postgres_workspaces import PostgresWorkspaces
from waypost.adapters.remote_limiter import RemoteLimiter
from waypost.breaker import Breaker
from waypost.clock import ServerClock
from waypost.ports import Limiter
from waypost.rpc.access import Limits
from waypost.rpc.channel import channel
from waypost.rpc.health import Check
from waypost.rpc.methods import MessageCap
from waypost.rpc.process import Service, serve
from waypost.rpc.told_limits import ToldLimits
from waypost.telemetry import Metrics

OPERATOR_POOL = 4
"""Connections for operators' calls, which are few."""

REPORT_POOL = 2

BATCH_METHOD = "/waypost.api.v1.LinkService/BatchCreateLinks"


async def run(settings: Settings) -> None:
    """Runs the gateway until it is told to stop."""
    await serve_gateway(settings, asyncio.Event())


async def serve_gateway(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the gateway until `stop` is set or a signal comes."""
    metrics = Metrics("gateway")
    clock = ServerClock()
    async with AsyncExitStack() as stack:
        pools = await _pools(stack, settings)
        control = await stack.enter_async_context(
            access_control(settings, "gateway", clock, anonymous=settings.anonymous_create)
        )
        remote = RemoteLimiter(
            await stack.enter_async_context(channel(settings.ratelimiter_address)),
            MemoryLimiter(
                settings.local_creates_per_minute, of_class={LimitClass.READ: settings.local_reads_per_minute}
            ),
            timeout=settings.ratelimiter_timeout_ms / 1000,
            breaker=Breaker(failures=3, retry_after=0.25),
            registry=metrics.registry,
        )
        limiter = ToldLimits(remote)
        feed = PostgresChangeFeed(
            settings.redirect_dsn(),
            "waypost_redirect",
            on_change=lambda short_code, version: cache.invalidate(short_code, version),  # noqa: PLW0108 - made below
            # The cache sees a gap by the epoch.
            on_gap=lambda: None,
            clock=clock,
        )
        reader = PostgresRedirectReader(pools.redirects)
        cache = RedirectCache(
            reader,
            feed,
            CacheMetrics(metrics.registry),
            unknown=_unknown_codes(settings),
            max_bytes=settings.cache_bytes,
            max_stale=settings.max_stale_seconds,
        )
        visitors = RedirectHandlers(cache, reader, clock)
        await serve(
            Service(
                name="gateway",
                settings=settings,
                control_port=settings.control_port,
                hot_port=settings.hot_port,
                metrics_port=settings.metrics_port,
                servicers=[
                    _link_service(settings, pools, cache, visitors, limiter, clock),
                    *_account_services(settings, pools, control, clock),
                    _abuse_service(settings, pools, cache),
                ],
                gate=[control.gate, Limits(limiter, POLICIES)],
                # As the edge has it.
                message_caps={BATCH_METHOD: MessageCap(3 * 1024 * 1024, MAX_BATCH, "requests")},
                metrics=metrics,
                checks=[
                    Check("postgres", pools.api.check),
                    Check("change_feed", partial(_check_feed, feed)),
                    Check("ratelimiter", remote.probe, required=False),
                    *control.checks,
                ],
                web=lambda health: web_app(
                    visitors,
                    health,
                    VisitMetrics(metrics.registry),
                    settings.public_url,
                    anonymous=settings.anonymous_create,
                    trusted=settings.trusted_networks(),
                ),
                web_port=settings.web_port,
                tasks=[feed.run, *control.tasks],
                stop=stop,
            )
        )


def _unknown_codes(settings: Settings) -> Failures | None:
    number = settings.unknown_codes_per_minute
    return Failures(number, rule="unknown_codes") if number else None


@dataclass(frozen=True, slots=True)
class _Pools:
    """Connections by job role."""

    api: Postgres
    redirects: Postgres
    operators: Postgres
    reports: Postgres


async def _pools(stack: AsyncExitStack, settings: Settings) -> _Pools:
    api = Postgres(settings.api_dsn(), "waypost_api", application_name="gateway", max_size=settings.database_pool)
    # Short: a cached link must not wait long to learn that the database is frozen.
    redirects = Postgres(
        settings.redirect_dsn(),
        "waypost_redirect",
        application_name="gateway-redirect",
        max_size=settings.database_pool,
        command_timeout=0.5,
        connect_timeout=0.5,
    )
    operators = Postgres(
        settings.operator_dsn(), "waypost_operator", application_name="gateway-operator", max_size=OPERATOR_POOL
    )
    # Apart, so that a flood of reports takes no connection from redirects.
    reports = Postgres(
        settings.redirect_dsn(), "waypost_redirect", application_name="gateway-reports", max_size=REPORT_POOL
    )
    return _Pools(*[await stack.enter_async_context(pool) for pool in (api, redirects, operators, reports)])


def _link_service(
    settings: Settings,
    pools: _Pools,
    cache: RedirectCache,
    visitors: RedirectHandlers,
    limiter: Limiter,
    clock: ServerClock,
) -> LinkService:
    storage = PostgresStorage(pools.api, settings.public_url)
    rules = LinkRules(Intake(settings.own_hosts(), allow_private_hosts=settings.allow_private_hosts), clock)
    links = LinkHandlers(storage, Transactions(storage, cache), limiter, rules, CodeSource(), clock)
    return LinkService(links, visitors, clock, settings.public_url)


def _account_services(
    settings: Settings, pools: _Pools, control: AccessControl, clock: ServerClock
) -> Sequence[object]:
    storage, reader = PostgresStorage(pools.api, settings.public_url), PostgresAccountReader(pools.api)
    fold = str.lower if settings.jwt_subject_claim == "email" else str
    workspaces = WorkspaceHandlers(storage, reader, PostgresWorkspaces(pools.operators), control.credentials, fold)
    return (
        WorkspaceService(workspaces),
        MemberService(MemberHandlers(storage, reader, fold)),
        KeyService(KeyHandlers(storage, reader, clock, settings.peppers())),
        AuditService(AuditHandlers(PostgresAuditReader(pools.api, pools.operators))),
    )


def _abuse_service(settings: Settings, pools: _Pools, cache: RedirectCache) -> AbuseService:
    store = PostgresAbuse(pools.operators, settings.public_url)
    intake = PostgresReportIntake(pools.reports)
    return AbuseService(AbuseHandlers(intake, store, Decisions(store, cache), ShortAddresses(settings.public_url)))


async def _check_feed(feed: PostgresChangeFeed) -> None:
    if time.monotonic() - feed.last_heartbeat > FEED_TIMEOUT:
        raise ConnectionError("no heartbeat from the change feed; links are read from the database before each use")
