"""The tree of rules: what it finds, and its compiled twin too, also by threads that read it while it is replaced."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native
import native.rules
from native.rules import MAX_DEPTH, NO_RULE, Node

try:
    import native._rules

    # Where the core cannot be compiled the product runs without it; `test_compiled.py` fails then, and alone.
    TREES: dict[str, Any] = {"plain": native.rules.RuleTree, "compiled": native._rules.RuleTree}
except ImportError:
    TREES = {"plain": native.rules.RuleTree}

AnyTree: TypeAlias = "native.rules.RuleTree | native._rules.RuleTree"
both_trees = pytest.mark.parametrize("make", TREES.values(), ids=TREES)
needs_compiled = pytest.mark.skipif("compiled" not in TREES, reason="the compiled core is not there")


@dataclass(frozen=True)
class Entry:
    key: str
    value: str


def entries(*pairs: tuple[str, str]) -> list[Entry]:
    return [Entry(*pair) for pair in pairs]


def root(*children: Node) -> Node:
    """A node with these, of which none is there twice."""
    node = Node()
    assert all(node.add(child) for child in children)
    return node


def test_the_compiled_tree_is_in_use() -> None:
    assert native.RuleTree is TREES["compiled" if native.COMPILED else "plain"]


@both_trees
def test_the_rule_at_just_the_depth_of_the_entries(make: type[AnyTree]) -> None:
    outer = Node("key", "value", number=0)
    assert outer.add(Node("inner", number=7))
    tree = make({"d": root(outer, Node("bare")), "empty": Node()})
    assert tree.match("d", entries(("key", "value"))) == (0, ("key", "value"))
    assert tree.match("d", tuple(entries(("key", "value"), ("inner", "ключ")))) == (
        7,
        ("key", "value", "inner", "ключ"),
    )
    assert tree.match("d", entries(("key", "value"), ("inner", ""), ("more", "x"))) is None
    assert tree.match("d", entries(("key", "other"))) is None
    assert tree.match("d", entries(("bare", "x"))) is None
    assert tree.match("d", []) is None
    assert tree.match("empty", entries(("key", "value"))) is None
    assert tree.match("empty", []) is None
    assert tree.match("", entries(("key", "value"))) is None
    assert tree.match("other", []) is None
    assert make({}).match("d", entries(("key", "value"))) is None


@both_trees
def test_exact_before_patterns_before_the_default(make: type[AnyTree]) -> None:
    children = [Node("k", number=0), Node("k", "a*", number=1), Node("k", "*b", number=2), Node("k", "ab", number=3)]
    tree = make({"d": root(*children, Node("*", "c", number=4), Node("e", "", number=5), Node("e*", number=6))})
    found = [tree.match("d", entries(pair)) for pair in (("k", "ab"), ("k", "axb"), ("k", "b"), ("k", ""), ("k", "c"))]
    assert [hit and hit[0] for hit in found] == [3, 1, 2, 0, 4]
    # The pattern stands before the default of the same key.
    assert tree.match("d", entries(("e", ""))) == (6, ("e", ""))


@both_trees
def test_values_that_share_a_counter(make: type[AnyTree]) -> None:
    shared = Node("k", "é*", share_threshold=True)
    assert shared.add(Node("by*", number=1, share_threshold=True))
    tree = make({"d": root(shared)})
    assert tree.match("d", entries(("k", "éa"), ("by key", "x"))) == (1, ("k", "é*", "by key", "by*"))
    # Its own text is met exactly, which tells the same counter.
    assert tree.match("d", entries(("k", "é*"), ("by*", "x"))) == (1, ("k", "é*", "by*", "by*"))


@both_trees
def test_trees_and_requests_deeper_than_may_be(make: type[AnyTree]) -> None:
    deepest = node = Node("k", number=3)
    for _ in range(MAX_DEPTH - 1):
        node = root(node)
        node.key = "k"
    tree = make({"d": root(node)})
    assert tree.match("d", entries(*[("k", "v")] * MAX_DEPTH)) == (3, ("k", "v") * MAX_DEPTH)
    assert tree.match("d", entries(*[("k", "v")] * (MAX_DEPTH + 1))) is None
    assert tree.match("d", entries(*[("k", "v")] * 1000)) is None
    assert deepest.add(Node("k"))
    with pytest.raises(ValueError, match="at most 64 deep"):
        make({"d": root(node)})


@both_trees
def test_halves_of_surrogate_pairs_are_characters(make: type[AnyTree]) -> None:
    """No request carries them; arguments on a command line may have some."""
    tree = make(
        {"d": root(Node("k", number=0), Node("k", "\udcff*", number=1, share_threshold=True)), "\ud800": Node()}
    )
    assert tree.match("d", entries(("k", "\ud800"))) == (0, ("k", "\ud800"))
    assert tree.match("d", entries(("k", "\udcff\udcff"))) == (1, ("k", "\udcff*"))
    assert tree.match("d", entries(("\udcff", "x"))) is None
    assert tree.match("\udcff", entries(("k", "x"))) is None


@needs_compiled
def test_what_is_no_text_of_a_request_is_refused() -> None:
    tree = TREES["compiled"]({"d": root(Node("k", number=0))})
    with pytest.raises(TypeError):
        tree.match("d", [Entry("k", 1)])  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        tree.match("d", [("k", "v")])
    with pytest.raises(TypeError):
        tree.match(None, [])


# Few characters, so that requests meet rules; of one to four bytes, two that share their first, halves of another.
TEXTS = st.text("ab*éèя€😀\0\ud83d\ude00", max_size=4) | st.sampled_from(
    ["a", "b", "a*", "*", "**", "a*b", "*a*b*", "x" * 5000]
)
NAMES = st.sampled_from(["a", "b", "é", "a*", "*"])


@st.composite
def nodes(draw: st.DrawFn, depth: int = 3) -> list[Node]:
    """Some descriptors, as a file may nest them."""
    found: list[Node] = []
    for key, value in draw(st.lists(st.tuples(NAMES | TEXTS, st.just("") | TEXTS), max_size=5 if depth > 1 else 3)):
        node = Node(key, value, draw(st.integers(NO_RULE, 9)), draw(st.booleans()))
        if depth > 1 and draw(st.booleans()):
            for child in draw(nodes(depth - 1)):
                node.add(child)
        found.append(node)
    return found


@st.composite
def near(draw: st.DrawFn, node: Node) -> list[Entry]:
    """A request that follows the tree, for as long as it will."""
    asked = []
    while node.children and draw(st.integers(0, 9)) > 0:
        node = draw(st.sampled_from(node.children))
        filled = [text.replace("*", draw(st.just("") | TEXTS)) for text in (node.key, node.value or draw(TEXTS))]
        asked.append(Entry(*filled))
    return asked


@needs_compiled
@given(st.data())
def test_the_compiled_tree_finds_what_the_plain_one_finds(data: st.DataObject) -> None:
    roots = {}
    for name in data.draw(st.lists(TEXTS, max_size=3, unique=True)):
        roots[name] = Node()
        for node in data.draw(nodes()):
            roots[name].add(node)
    plain, compiled = native.rules.RuleTree(roots), TREES["compiled"](roots)
    drawn = st.builds(Entry, NAMES | TEXTS, TEXTS)
    for domain in [*roots, "other"]:
        asks: list[Sequence[Entry]] = [data.draw(st.lists(drawn, max_size=4)) for _ in range(3)]
        if domain in roots:
            asks += [data.draw(near(roots[domain])) for _ in range(5)]
        for asked in asks:
            expected = plain.match(domain, asked)
            assert compiled.match(domain, asked) == expected
            number = NO_RULE if expected is None else expected[0]
            assert native._rules.CurrentTree(compiled).match_without_gil(domain, asked, 1) == [number]


@both_trees
def test_many_descriptors_each_by_itself(make: type[AnyTree]) -> None:
    many = root(*(Node("user", f"{number:x}", number) for number in range(20_000)))
    tree = make({"d": many, **{f"domain {number}": root(Node("k", number=number)) for number in range(500)}})
    for number in range(20_000):
        assert tree.match("d", entries(("user", f"{number:x}"))) == (number, ("user", f"{number:x}"))
    assert tree.match("d", entries(("user", f"{20_000:x}"))) is None
    assert tree.match("domain 499", entries(("k", ""))) == (499, ("k", ""))


def numbered(number: int) -> Any:
    """A tree whose one rule has this number, behind what takes some memory."""
    deep = root(*(Node("n", f"value {index}", NO_RULE) for index in range(20)), Node("n", "x*y*z", number))
    deep.key, deep.value = "outer", "v" * 300
    return native._rules.RuleTree({"d": root(deep)})


ASKED = entries(("outer", "v" * 300), ("n", "x, y and z"))


@needs_compiled
def test_threads_read_while_trees_are_replaced() -> None:
    readers, last = 6, 2_000
    current = native._rules.CurrentTree(numbered(0))
    together = Barrier(readers + 1)

    def read(_: int) -> list[int]:
        found: list[int] = current.match_without_gil("d", ASKED, 1)
        together.wait(60)
        while found[-1] != last:
            for number in current.match_without_gil("d", ASKED, 1000):
                if number != found[-1]:
                    found.append(number)
        return found

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(readers) as pool:
            reading = [pool.submit(read, number) for number in range(readers)]
            together.wait(60)
            # A reader holds no more than one of those that were replaced.
            assert max([current.publish(numbered(number)) for number in range(1, last + 1)]) <= readers
            seen = [each.result(60) for each in reading]
    finally:
        sys.setswitchinterval(interval)
    for found in seen:
        # Each match was made in one tree, none in one older than that of the match before it.
        assert (found[0], found[-1]) == (0, last)
        assert found == sorted(found)
    assert current.sweep() == 0


@needs_compiled
def test_a_replaced_tree_goes_when_nobody_reads_it() -> None:
    first, second = numbered(1), numbered(2)
    current = native._rules.CurrentTree(first)
    assert current.match_without_gil("d", ASKED, 1) == [1]
    held = sys.getrefcount(first)
    assert current.publish(second) == 0
    assert (current.tree, sys.getrefcount(first)) == (second, held - 1)
    assert current.publish(first) == 0
    assert current.publish(first) == 0
    assert current.match_without_gil("d", ASKED, 1) == [1]


@needs_compiled
def test_readers_leave_their_places_to_others() -> None:
    current = native._rules.CurrentTree(numbered(1))
    for _ in range(200):
        assert current.match_without_gil("d", ASKED, 1) == [1]
    with pytest.raises(ValueError, match="at most 64 entries"):
        current.match_without_gil("d", entries(("k", "v")) * 65, 1)
