"""The SQL statements by name: blocks of the files in `sql/`, each begun by `-- name: <name>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^-- name:\s*(\S+)\s*$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """Statements by name. An unknown name raises `KeyError` with the names there are."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = MappingProxyType(statements)

    @classmethod
    def read(cls, folder: Path) -> Queries:
        """Reads every `*.sql` file of `folder`. Raises `ValueError` for a name given twice, a bad or an empty block."""
        statements: dict[str, str] = {}
        for path in sorted(folder.glob("*.sql")):
            for name, statement in blocks(path.read_text(encoding="utf-8")):
                if not name.isidentifier():
                    raise ValueError(f"{path.name}: {name!r} is not a name")
                if name in statements:
                    raise ValueError(f"{path.name}: the name {name!r} is taken")
                if not statement:
                    raise ValueError(f"{path.name}: the block {name!r} is empty")
                statements[name] = statement
        return cls(statements)

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"no query {name!r}; there are {', '.join(self._statements)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The named blocks of one file without comment lines and the closing semicolon."""
    parts = _NAME.split(text)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        yield name, "\n".join(lines).strip().removesuffix(";")


QUERIES = Queries.read(Path(__file__).with_name("sql"))
