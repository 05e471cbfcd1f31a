"""What the client offers to others: declared, true, and light until it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import waypost
from waypost import client


def test_what_is_declared_is_sorted_and_there() -> None:
    for module in (waypost, client):
        constants = [name for name in module.__all__ if name.isupper()]
        classes = [name for name in module.__all__ if name[0].isupper() and name not in constants]
        others = [name for name in module.__all__ if not name[0].isupper()]
        assert [*sorted(constants), *sorted(classes), *sorted(others)] == module.__all__
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_what_is_there_is_declared() -> None:
    names = {name for name, value in vars(client).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert names == set(client.__all__)
    assert waypost.Client is client.Client


def test_importing_the_package_loads_no_library() -> None:
    program = (
        "import sys, waypost\n"
        "heavy = ('grpc', 'google', 'pydantic', 'asyncpg', 'asyncio')\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        "assert waypost.Client.__name__ == 'Client'\n"
        "assert 'grpc' in sys.modules\n"
        "assert not [name for name in ('pydantic', 'asyncpg', 'waypost.adapters') if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        waypost.Cleint  # type: ignore[attr-defined]  # noqa: B018
