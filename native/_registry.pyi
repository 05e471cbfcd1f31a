from collections.abc import Sequence

from typing_extensions import disjoint_base

@disjoint_base
class Registry:
    """For compiled code."""

def digest(texts: Sequence[str], seed: bytes) -> bytes: ...
