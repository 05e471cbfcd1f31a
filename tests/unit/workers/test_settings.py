"""The workers' settings."""

from __future__ import annotations

import pytest

from waypost.settings import BadSettings
from workers.settings import Settings

DATABASE = "postgresql://waypost:secret@db/waypost"


def test_defaults() -> None:
    settings = Settings.from_env({"WAYPOST_DATABASE_URL": DATABASE})
    assert (settings.control_port, settings.metrics_port, settings.sweep_interval_seconds) == (50053, 9103, 60)
    assert settings.sweeper_dsn() == DATABASE
    assert "secret" not in repr(settings)


def test_role_of_its_own_goes_first() -> None:
    own = f"{DATABASE}-sweeper"
    assert Settings.from_env({"WAYPOST_DATABASE_SWEEPER_URL": own}).sweeper_dsn() == own
    both = {"WAYPOST_DATABASE_URL": DATABASE, "WAYPOST_DATABASE_SWEEPER_URL": own}
    assert Settings.from_env(both).sweeper_dsn() == own


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({}, "DATABASE_URL must be set"),
        ({"WAYPOST_DATABASE_URL": "sqlite://x"}, "WAYPOST_DATABASE_URL must start with"),
        ({"WAYPOST_DATABASE_URL": DATABASE, "WAYPOST_SWEEP_INTERVAL_SECONDS": "0"}, "WAYPOST_SWEEP_INTERVAL_SECONDS"),
        ({"WAYPOST_DATABASE_URL": DATABASE, "WAYPOST_WORKERS_CONTROL_PORT": "x"}, "WAYPOST_WORKERS_CONTROL_PORT"),
    ],
)
def test_bad_settings_are_named(env: dict[str, str], named: str) -> None:
    with pytest.raises(BadSettings) as caught:
        Settings.from_env(env)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)
