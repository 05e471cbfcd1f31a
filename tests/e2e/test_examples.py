"""The examples of README.md and docs/, run as they stand against a mesh.

An example that is to be run is a fenced block of the language `console` (or `sh`) right after a line `<!-- run -->`:

    <!-- run -->
    ```console
    $ curl -s localhost:8080/healthz
    {"status":"…"}
    $ waypost links get third
    short_code       third
    …
    ```

What follows `$ ` is given to bash in the project's folder; a line that begins with `> ` goes on with the command before
it. The lines up to the next command are its output, on standard output and error together. In them `…` stands for any
text within a line, and on a line of its own for any lines, or none. Default ports are the mesh's own when the example
is run, in commands and in output alike; `$WAYPOST_API_KEY` is the operator's key, which README.md has readers export. A
block of `sh` has commands only, one a line; they must succeed.

The blocks of a page run in their order and see what those before them have done. Their aliases belong to them: no other
test uses `first`, `second`, `third` or what begins with `api-` or `import-`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.shell import DIRECT
from tests.support.mesh import Mesh
from waypost.supervisor.settings import SupervisorSettings

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md"))]
MARK = "<!-- run -->"


@dataclass
class Example:
    """A command and the output shown beneath it; `line`: where it stands. `quiet`: no output is shown for it."""

    line: int
    command: str
    output: list[str] = field(default_factory=list)
    quiet: bool = False


def blocks(text: str) -> Iterator[list[Example]]:
    """The examples of each marked block. Raises `ValueError` for a mark without a block."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() != MARK:
            continue
        fence = lines[number + 1] if number + 1 < len(lines) else ""
        if fence not in ("```console", "```sh") or "```" not in lines[number + 2 :]:
            raise ValueError(f"line {number + 1}: {MARK} must stand right before a block of console or sh")
        end = lines.index("```", number + 2)
        yield list(_examples(lines[number + 2 : end], number + 3, quiet=fence == "```sh"))


def _examples(lines: list[str], first: int, *, quiet: bool) -> Iterator[Example]:
    current: Example | None = None
    for number, line in enumerate(lines, first):
        if quiet:
            if line.strip() and not line.startswith("#"):
                yield Example(number, line.removeprefix("$ "), quiet=True)
        elif line.startswith("$ "):
            if current is not None:
                yield current
            current = Example(number, line.removeprefix("$ "))
        elif current is None:
            raise ValueError(f"line {number}: output before the first command")
        elif line.startswith("> ") and not current.output:
            current.command += "\n" + line.removeprefix("> ")
        else:
            current.output.append(line)
    if current is not None:
        yield current


def matches(shown: list[str], said: str) -> bool:
    """Whether the output is the one shown; blanks at the ends of lines and of all do not count."""
    pattern = ""
    for line in shown:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ \t]*\n"
    return re.fullmatch(pattern + r"\s*", said.rstrip() + "\n") is not None


def on(mesh: Mesh) -> Callable[[str], str]:
    """Puts the mesh's ports in the place of the default ones."""
    ports = {
        info.default: str(mesh.ports[info.field.removesuffix("_port")])
        for info in SupervisorSettings.infos()
        if info.field.endswith("_port")
    }
    default = re.compile(rf"\b({'|'.join(ports)})\b")
    return lambda text: default.sub(lambda match: ports[match[1]], text)


def _blocks_of(page: Path) -> list[list[Example]]:
    return list(blocks(page.read_text(encoding="utf-8")))


def test_readme_has_examples() -> None:
    assert README.is_file(), "there is no README.md"
    assert _blocks_of(README), f"README.md has no block that is marked by {MARK}"


@pytest.mark.parametrize(
    ("page", "examples"),
    [
        pytest.param(page.relative_to(ROOT), block, id=f"{page.name} line {block[0].line}")
        for page in PAGES
        for block in _blocks_of(page)
    ],
)
def test_examples(mesh: Mesh, page: Path, examples: list[Example]) -> None:
    here = on(mesh)
    for example in examples:
        done = subprocess.run(
            ["bash", "-c", here(example.command)],
            cwd=ROOT,
            env={**mesh.env, "WAYPOST_API_KEY": mesh.operator_key, **DIRECT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        place = f"{page}, line {example.line}: {example.command}"
        if example.quiet:
            assert done.returncode == 0, f"{place}\nended with {done.returncode}:\n{done.stdout}"
        else:
            shown = [here(line) for line in example.output]
            said = done.stdout.replace("\r\n", "\n")
            assert matches(shown, said), f"{place}\nsaid:\n{said}\nand not:\n" + "\n".join(shown)


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ([], "", True),
        ([], "x", False),
        (["a"], "a\n\n", True),
        (["a"], "a", True),
        (["a"], "b", False),
        (["a"], "a\nb", False),
        (["a…c"], "abbc\n", True),
        (["a…c"], "ac", True),
        (["a…c"], "a\nc", False),
        (["…"], "", True),
        (["a", "…", "z"], "a\nz", True),
        (["a", "…", "z"], "a\nb\nc\nz", True),
        (["a", "…", "z"], "a\nb\nc", False),
        (["a.c"], "abc", False),
        (["a", "…"], "a\n\n", True),
    ],
)
def test_how_output_is_compared(shown: list[str], said: str, same: bool) -> None:
    assert matches(shown, said) is same


def test_how_blocks_are_read() -> None:
    text = (
        f"{MARK}\n```console\n$ a \\\n> b\nx\n$ c\n```\n```console\n$ not this\n```\n{MARK}\n```sh\n# so\nd  # e\n```\n"
    )
    first, second = blocks(text)
    assert first == [Example(3, "a \\\nb", ["x"]), Example(6, "c")]
    assert second == [Example(14, "d  # e", quiet=True)]
    for wrong in (MARK, f"{MARK}\n\n```console\n$ a\n```", f"{MARK}\n```console\n$ a", f"{MARK}\n```console\nx\n```"):
        with pytest.raises(ValueError, match=r"line \d"):
            list(blocks(wrong))
