"""The fuzz targets under ASan and UBSan: every kept input again, and a fixed number of new ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.missing import missing

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "fuzz"
TARGETS = ("wire", "rls", "frames", "calls", "reuse")
RUNS = 20_000
MOST_KEPT_BYTES = 300_000

BOUNDS = ("-max_len=2048", "-timeout=100", "-rss_limit_mb=1024")
"""Of one input: bytes, seconds until it counts as endless, memory."""


def absent(folder: Path) -> str | None:
    """What is not there of what targets are built with, and how to get it; `folder` is scratch."""
    if shutil.which("clang") is None:
        return "no clang (apt install clang)"
    command = ["pkg-config", "--exists", "libnghttp2"]
    if shutil.which("pkg-config") is None or subprocess.run(command, check=False).returncode:
        return "no nghttp2 (apt install libnghttp2-dev pkg-config)"
    source = folder / "nothing.c"
    source.write_text("int LLVMFuzzerTestOneInput(const char *data, long size) { return size < 0 && data; }\n")
    command = ["clang", "-fsanitize=fuzzer,address,undefined", str(source), "-o", str(folder / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"clang has no libFuzzer: {done.stderr.strip()[-300:]}" if done.returncode else None


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all targets. Skips the test without the tools, or fails it where CI is set."""
    folder = tmp_path_factory.mktemp("targets")
    reason = absent(folder)
    if reason is not None:
        missing(f"cannot fuzz: {reason}")
    run(["bash", str(FOLDER / "build.sh"), str(folder), *TARGETS])
    return folder


def run(command: list[str]) -> str:
    """What the command said to stderr; fails with the end of it."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{' '.join(command)[:500]}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stderr


def kept(target: str) -> list[Path]:
    return sorted(path for path in (FOLDER / "corpus" / target).iterdir() if path.is_file())


def test_every_target_has_a_small_kept_corpus() -> None:
    assert {path.name for path in (FOLDER / "corpus").iterdir()} == set(TARGETS)
    assert all(kept(target) for target in TARGETS)
    sizes = {path: path.stat().st_size for target in TARGETS for path in kept(target)}
    assert sum(sizes.values()) < MOST_KEPT_BYTES, "tests/fuzz/corpus: keep less, see tools/fuzz.sh"
    assert min(sizes.values()) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs_still_pass(programs: Path, target: str) -> None:
    inputs = kept(target)
    said = run([str(programs / target), *BOUNDS, *map(str, inputs)])
    assert said.count("Executed ") == len(inputs)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs_pass(programs: Path, target: str, tmp_path: Path) -> None:
    words = FOLDER / f"{target}.dict"
    options = [f"-runs={RUNS}", "-seed=1", *BOUNDS, f"-artifact_prefix={tmp_path}/"]
    if words.exists():
        options.append(f"-dict={words}")
    grown = tmp_path / "grown"
    grown.mkdir()
    said = run([str(programs / target), *options, str(grown), str(FOLDER / "corpus" / target)])
    assert f"Done {RUNS} runs" in said
