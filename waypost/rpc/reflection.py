"""Reflection: what `grpcurl` and its like ask for the names and shapes of everything that is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection

METHOD = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
"""Its one method, a stream."""


def servicer(services: Sequence[str]) -> Any:
    """A servicer that lists these services, and itself."""
    return reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME), pool=_Pool())


class _Pool:
    """The default descriptor pool, that also finds methods by name: the one in C knows only what contains them."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """The file that declares the symbol. Raises `KeyError`."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
