from typing_extensions import disjoint_base

@disjoint_base
class StoreQuestion:
    """A request whose limits are all the store's to decide: what to ask it, and what the caller is answered then."""

    @property
    def domain(self) -> str: ...
    @property
    def keys(self) -> list[bytes]:
        """Each counter's once."""
    @property
    def argument(self) -> bytes:
        """Of the store's script."""
    @property
    def serial(self) -> int:
        """Of the plan."""
    def close(self) -> None:
        """Lets go of the rules that it was asked by; there will be no answer. More than once is once."""
    def answer(self, reply: list[int]) -> tuple[bytes, int]:
        """What the caller is answered, and, if the request is refused, a bit for each descriptor that refused.

        Counts the decision. Raises `ValueError`, `TypeError` for what is no reply to this.
        """
