"""The records of a file in batches, the same ones whenever the file is read with the same rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from waypost.cli.transfer.records import Candidate, Entry, Problem, Rules
from waypost.client import MAX_BATCH, NewLink

__all__ = ["MAX_BATCH", "Batch", "batches"]

MAX_BYTES = 5 * 512 * 1024
"""What the links of a batch may come to, as estimated: under the contract's 3 MiB."""


@dataclass(slots=True)
class Batch:
    """Some records that follow each other: those to send, and those that cannot be sent."""

    index: int
    candidates: list[Candidate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    bytes: int = 0

    @property
    def read(self) -> int:
        """How many records it has."""
        return len(self.candidates) + len(self.problems)


def batches(entries: Iterable[Entry], rules: Rules, size: int) -> Iterator[Batch]:
    """Batches of `size` records, whether they can be sent or not; of fewer where they are large."""
    batch = Batch(0)
    for entry in entries:
        match rules.check(entry):
            case Problem() as problem:
                batch.problems.append(problem)
            case Candidate() as candidate:
                weight = _bytes(candidate.link)
                if batch.bytes + weight > MAX_BYTES:
                    yield batch
                    batch = Batch(batch.index + 1)
                batch.candidates.append(candidate)
                batch.bytes += weight
        if batch.read >= size:
            yield batch
            batch = Batch(batch.index + 1)
    if batch.read:
        yield batch


def _bytes(link: NewLink) -> int:
    """About what the link takes in a request, and never less."""
    texts = (link.url, link.alias, link.title, *link.tags)
    return 64 + sum(len(text.encode()) + 8 for text in texts)
