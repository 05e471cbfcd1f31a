"""The compiled core itself: that it is there, its stubs, its hash, its registry of rules, and threads at once."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

import native
from native.limits import Algorithm, Limit
from native.request import Mode, Question
from tests.unit.native.twins import TABLES

NOW_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
ROOT = Path(__file__).resolve().parents[3]

needs_compiled = pytest.mark.skipif("compiled" not in TABLES, reason="the compiled core is not there")


def test_the_compiled_core_is_in_use() -> None:
    assert native.COMPILED, "the compiled core did not load: apt install gcc python3-dev, then make setup"
    assert native.Table.__module__ == "native._table"


def loads(name: str) -> bool:
    """Whether a module can be used; those of the hot port cannot where that was not built."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@needs_compiled
def test_stubs_are_what_was_compiled(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    # Names for compiled code only.
    allowed.write_text(r"native\._\w+\.__pyx_capi__" + "\n")
    names = sorted(f"native.{path.stem}" for path in (ROOT / "native").glob("*.pyx"))
    modules = [name for name in names if native.HOT_PORT or loads(name)]
    command = [
        sys.executable,
        "-m",
        "mypy.stubtest",
        "--allowlist",
        str(allowed),
        "--ignore-unused-allowlist",
        *modules,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def siphash(key: bytes, message: bytes, rounds: int) -> bytes:
    """SipHash of 128 bits with `rounds` for each word and 3 or 4 in the end, as its authors write it."""
    mask = 2**64 - 1
    low, high = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [
        0x736F6D6570736575 ^ low,
        0x646F72616E646F6D ^ high ^ 0xEE,
        0x6C7967656E657261 ^ low,
        0x7465646279746573 ^ high,
    ]

    def rotate(word: int, by: int) -> int:
        return (word << by | word >> (64 - by)) & mask

    def mix(times: int) -> None:
        for _ in range(times):
            v[0], v[2] = (v[0] + v[1]) & mask, (v[2] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 13) ^ v[0], rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2], v[0] = (v[2] + v[1]) & mask, (v[0] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 17) ^ v[2], rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        mix(rounds)
        v[0] ^= word
    v[2] ^= 0xEE
    mix(rounds + 2)
    tag = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    mix(rounds + 2)
    return tag.to_bytes(8, "little") + (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")


def test_the_model_of_siphash_is_siphash() -> None:
    # Of the vectors that come with the authors' code, for SipHash-2-4 with 128 bits: no message, and 15 bytes.
    key = bytes(range(16))
    assert siphash(key, b"", 2).hex() == "a3817f04ba25a8e66df67214c7550293"
    assert siphash(key, bytes(range(15)), 2).hex() == "5493e99933b0a8117e08ec0f97cfc3d9"


@needs_compiled
def test_a_counter_is_known_by_siphash_of_its_texts() -> None:
    from native._registry import digest

    seed = bytes(range(16))
    for texts in ([], ["a"], ["a", "b"], ["", "abcdefg", "abcdefgh", "abcdefghi"], ["ключ" * 100]):
        key = seed
        for index, text in enumerate(texts):
            key = siphash(key, (len(texts) - index).to_bytes(8, "little") + text.encode(), 1)
        assert digest(texts, seed) == (key if texts else siphash(seed, bytes(8), 1))


@needs_compiled
def test_the_seed_decides_where_counters_are() -> None:
    """Two tables with one seed give up the same counters, others do not."""

    def survivors(seed: bytes | None) -> list[int]:
        table = TABLES["compiled"](200, seed)
        limiter = table.limiter(("rule",), Limit(Algorithm.FIXED_WINDOW, 100, SECOND_US))
        for number in range(1000):
            limiter.spend(str(number), NOW_US, 1 + number % 40)
        return [limiter.look(str(number), NOW_US).remaining for number in range(1000)]

    assert survivors(b"seed") == survivors(b"seed")
    assert survivors(b"seed") != survivors(b"another")
    assert survivors(None) != survivors(None)


@needs_compiled
@pytest.mark.parametrize("capacity", [1, 15, 16, 200, 70_000, 500_000])
def test_a_table_holds_as_many_counters_as_it_says(capacity: int) -> None:
    table = TABLES["compiled"](capacity, b"seed")
    limiter = table.limiter(("rule",), Limit(Algorithm.FIXED_WINDOW, 10, SECOND_US))
    limiter.allow_many(b"".join(b"%06d" % number for number in range(capacity)), 6, NOW_US)
    assert (len(table), table.evictions, table.overflows) == (capacity, 0, 0)
    limiter.allow_many(b"newcomer", 8, NOW_US)
    assert (len(table), table.evictions) == (capacity, 1)
    if capacity >= 1000:
        assert table.memory_bytes <= 64 * capacity


@needs_compiled
def test_rules_that_are_gone_make_room_for_others() -> None:
    table = TABLES["compiled"](20)
    limit = Limit(Algorithm.FIXED_WINDOW, 5, SECOND_US)
    limiter = table.limiter(("kept",), Limit(Algorithm.FIXED_WINDOW, 7, 10**15))
    limiter.spend("a", NOW_US, 7)
    bytes_before = table.memory_bytes
    for number in range(10_000):
        now_us = NOW_US + number * SECOND_US
        numbered = Limit(Algorithm.FIXED_WINDOW, 5 + number, SECOND_US)
        questions = [
            Question(("gone", str(number)), ("a",), limit, 3, 0),
            Question(("gone", str(number), "too"), ("a",), numbered, 5, 1),
        ]
        verdict = table.decide(questions, now_us)
        assert [decision.remaining for decision in verdict.decisions] == [2, number]
        assert not table.decide(questions, now_us).admitted
    assert table.memory_bytes < bytes_before + 20_000
    assert not limiter.allow("a", NOW_US + 10_000 * SECOND_US)


@needs_compiled
def test_limits_that_requests_bring_are_part_of_what_a_table_takes() -> None:
    capacity = 5000
    table = TABLES["compiled"](capacity)
    bytes_before = table.memory_bytes

    def decide(numbers: range) -> None:
        for number in numbers:
            limit = Limit(Algorithm.FIXED_WINDOW, 1000 + number, 10**15)
            table.decide([Question(("override",), (str(number),), limit, 1)], NOW_US)

    tracemalloc.start()
    try:
        traced_before, _ = tracemalloc.get_traced_memory()
        decide(range(capacity))
        traced, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Besides what Python's allocator knows of there are the arrays.
    assert traced - traced_before <= table.memory_bytes - bytes_before <= 2 * (traced - traced_before)
    # However many come, those of counters that are given up are given up.
    decide(range(capacity, 20 * capacity))
    assert table.memory_bytes - bytes_before <= 1000 * capacity


@needs_compiled
def test_what_newcomers_of_a_rule_share_outlives_a_full_registry() -> None:
    table = TABLES["compiled"](1)
    wide = Limit(Algorithm.FIXED_WINDOW, 100, 10**15)
    for name in "ab":
        table.decide([Question(("shared",), (name,), wide, 40)], NOW_US)
    assert table.evictions == 1
    for number in range(1000):
        # Looks register rules and add no counters.
        table.look([Question((str(number),), ("a",), Limit(Algorithm.FIXED_WINDOW, number, SECOND_US), 1)], NOW_US)
    assert table.look([Question(("shared",), ("c",), wide, 1)], NOW_US)[0].remaining == 60


@needs_compiled
def test_threads_lose_and_double_no_hit() -> None:
    table = TABLES["compiled"](100_000)
    limit = Limit(Algorithm.SLIDING_WINDOW, 1_500_000, 3600 * SECOND_US)
    together = Barrier(8)

    def spend(thread: int) -> list[int]:
        """How often each of four keys was admitted; so few that threads meet at them."""
        limiter = table.limiter(("shared",), limit)
        together.wait(60)
        answers = limiter.allow_many(b"abcd" * 200_000, 1, NOW_US)
        return [answers[key::4].count(1) for key in range(4)]

    with ThreadPoolExecutor(8) as pool:
        admitted = pool.map(spend, range(8))
        # Meanwhile other rules come, more than there was room for.
        for number in range(500):
            table.decide([Question((str(number), "other"), ("a",), limit, 1)], NOW_US)
        assert [sum(each) for each in zip(*admitted, strict=True)] == [limit.limit] * 4


@needs_compiled
def test_a_request_is_one_decision_for_all_threads() -> None:
    """Each takes a hit from two counters or from none, in any order; none waits for ever."""
    table = TABLES["compiled"](1_000_000)
    limit = Limit(Algorithm.FIXED_WINDOW, 500_000, 3600 * SECOND_US)
    counters = [Question(("rule",), (str(number),), limit, 1, number) for number in range(6)]
    asked = [counters[:2], counters[1::-1], counters[1:3], counters[2:0:-1], [*counters], counters[::-1]] * 2
    together = Barrier(len(asked))

    def decide(questions: list[Question]) -> int:
        together.wait(60)
        return int(table.decide_without_gil(questions, NOW_US, 100_000))

    with ThreadPoolExecutor(len(asked)) as pool:
        admitted = list(pool.map(decide, asked))
    for counter in counters:
        taken = sum(times for questions, times in zip(asked, admitted, strict=True) if counter in questions)
        assert table.look([counter], NOW_US)[0].remaining == limit.limit - taken
    assert table.look([counters[1]], NOW_US)[0].remaining == 0


@needs_compiled
def test_threads_that_fill_a_small_table_admit_no_more_than_the_limit() -> None:
    table = TABLES["compiled"](30)
    limit = Limit(Algorithm.TOKEN_BUCKET, 10, 3600 * SECOND_US)

    def flood(thread: int) -> int:
        limiter = table.limiter(("rule",), limit)
        admitted = 0
        for round_number in range(50):
            keys = "".join(f"{thread}{round_number:03}{number:04}" for number in range(20))
            limiter.allow_many(keys.encode(), 8, NOW_US)
            admitted += sum(limiter.allow_many(b"attacker", 8, NOW_US))
            table.decide_without_gil([Question(("rule",), ("attacker",), limit, 1, mode=Mode.SHADOW)], NOW_US, 0)
        return admitted

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(flood, range(4))) <= limit.limit
    assert len(table) == 30


@needs_compiled
def test_threads_that_bring_new_rules_meet_no_others_counter() -> None:
    """The registry drops what nobody uses while the others register theirs."""
    table = TABLES["compiled"](200_000)
    limiter = table.limiter(("full",), Limit(Algorithm.FIXED_WINDOW, 1, 3600 * SECOND_US))
    # So many that it takes a while to see what is in use.
    limiter.allow_many(b"".join(b"%06d" % number for number in range(180_000)), 6, NOW_US)
    together = Barrier(6)

    def register(thread: int) -> None:
        together.wait(60)
        for number in range(2000):
            limit = Limit(Algorithm.FIXED_WINDOW, 1_000_000 + 10_000 * thread + number, 3600 * SECOND_US)
            asked = [Question((str(thread), str(number)), ("a",), limit, 7)]
            assert table.decide(asked, NOW_US).decisions[0].remaining == limit.limit - 7

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(register, range(6)))
    finally:
        sys.setswitchinterval(interval)


@needs_compiled
def test_a_table_is_collected_together_with_its_limiters() -> None:
    # In another process: what this is about would end this one.
    program = """
import gc
from native._table import Table
from native.limits import Algorithm, Limit

# The collector clears what is oldest first.
table = Table(10)
cycle = [table, table.limiter(("rule",), Limit(Algorithm.FIXED_WINDOW, 1, 1))]
cycle.append(cycle)
del table, cycle
gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_build_without_a_compiler_says_so_and_goes_on(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "native", tmp_path / "native", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (tmp_path / "waypost").mkdir()
    shutil.copyfile(ROOT / "waypost" / "__init__.py", tmp_path / "waypost" / "__init__.py")
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = {"PATH": "", "CC": "no-such-compiler"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the compiled core is left out" in done.stderr
    assert "apt install gcc python3-dev" in done.stderr
    plain = [sys.executable, "-c", "import native; print(native.COMPILED, native.Table.__module__)"]
    environment = {"PYTHONPATH": str(tmp_path)}
    answer = subprocess.run(plain, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "native.table"]
