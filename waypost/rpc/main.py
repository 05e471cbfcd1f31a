"""A service's process from outside: settings in, one line where it cannot start, exit code out."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop

from waypost.rpc.ports import PortInUse
from waypost.setting_names import SETTING_NAMES
from waypost.settings import BadSettings, ServiceSettings, reserved_in_use
from waypost.telemetry import configure_logging

S = TypeVar("S", bound=ServiceSettings)

EXIT_SETTINGS = 2

# Seconds that a service which has run has to end, before the process is left by force.
_END_SECONDS = 5.0


def main(name: str, settings_class: type[S], run: Callable[[S], Awaitable[None]]) -> int:
    """Runs a service to its end; the exit code: 0 told to stop, 1 failed, 2 bad setting or taken port."""
    try:
        settings = settings_class.from_env(os.environ, SETTING_NAMES)
    except BadSettings as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - before there is a logger
        return EXIT_SETTINGS
    configure_logging(name, settings.log_level)
    log = structlog.get_logger()
    for sentence in reserved_in_use(os.environ):
        log.warning("setting without effect", detail=sentence)
    # Tasks that do not heed their cancellation and threads that hang would hold the process for ever.
    watchdog = threading.Timer(_END_SECONDS, _give_up)
    watchdog.daemon = True
    try:
        uvloop.run(_run(run, settings, watchdog))
    except (BadSettings, PortInUse) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - for people, as the line above
        return EXIT_SETTINGS
    except Exception:
        log.exception("failed")
        return 1
    finally:
        watchdog.cancel()
    # Its last word: by now connections and tasks that had something to say while they were ended have said it.
    log.info("stopped")
    return 0


async def _run(run: Callable[[S], Awaitable[None]], settings: S, watchdog: threading.Timer) -> None:
    try:
        await run(settings)
    finally:
        watchdog.start()


def _give_up() -> None:
    structlog.get_logger().error("something does not end; the process is left by force")
    os._exit(1)
