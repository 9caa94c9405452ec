"""The radix trie against the set of prefixes it stands for, and the layout against visibility by definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.engine.bins import fill_bins
from mmedpo.engine.branches import Branch
from mmedpo.engine.layout import branch_symbols, dense_visibility, lay_out
from mmedpo.engine.trie import Trie
from mmedpo.errors import TrainingError

IMAGE, TOKENS = 3, 4
SEQUENCE = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def symbols(sequence):
    return np.array(sequence, dtype=np.int64)


def spelled(node, prefix=()):
    """Every (path, members) below a node."""
    path = (*prefix, *node.symbols.tolist())
    yield path, node.members
    for child in node.children:
        yield from spelled(child, path)


@given(st.lists(SEQUENCE, min_size=1, max_size=12))
def test_a_trie_holds_every_distinct_prefix_once(sequences):
    trie = Trie()
    brought = [trie.insert(symbols(sequence)) for sequence in sequences]
    prefixes = {tuple(sequence[: i + 1]) for sequence in sequences for i in range(len(sequence))}
    assert trie.tokens == len(prefixes) == sum(brought) == sum(root.tokens for root in trie.roots.values())
    ends = {path: members for root in trie.roots.values() for path, members in spelled(root)}
    for number, sequence in enumerate(sequences):
        assert number in ends[tuple(sequence)]
    assert sum(len(members) for members in ends.values()) == len(sequences)


@given(st.lists(SEQUENCE, min_size=1, max_size=8))
def test_children_differ_in_their_first_symbol_and_no_node_is_empty(sequences):
    trie = Trie()
    for sequence in sequences:
        trie.insert(symbols(sequence))
    for root in trie.roots.values():
        for node in root.walk():
            assert len(node.symbols)
            firsts = [int(child.symbols[0]) for child in node.children]
            assert len(set(firsts)) == len(firsts)
            # A node with one way on and nobody ending there would be two nodes for one run.
            assert node.members or len(node.children) != 1


def test_two_questions_on_one_image_by_hand():
    trie = Trie()
    image = [-1, -2, -3, -4]
    assert trie.insert(symbols([1, *image, 10, 20])) == 7
    assert trie.insert(symbols([1, *image, 10, 21])) == 1
    assert trie.insert(symbols([1, *image, 11, 20])) == 2
    assert trie.insert(symbols([1, *image, 10])) == 0
    assert trie.tokens == 10


@st.composite
def branches(draw):
    words = st.lists(st.sampled_from([10, 11]), max_size=4)
    prompt, views = [1, *draw(words)], []
    for view in draw(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2)):
        views.append(Path(view))
        prompt += [IMAGE] * TOKENS + draw(words)
    return Branch(tuple(views), tuple(prompt), (*draw(words), 2))


def conversation(layout, columns):
    """What a reader of these columns sees: (symbol, depth) in order of depth."""
    return [(int(layout.symbols[c]), int(layout.depth[c])) for c in columns]


@given(st.lists(branches(), min_size=1, max_size=8, unique=True), st.sampled_from([0.0, 3.0, 1e9]))
def test_in_a_layout_every_target_sees_exactly_its_own_conversation(batch, pairs_per_token):
    layout = lay_out(batch, IMAGE, TOKENS, pairs_per_token)
    sequences, views = branch_symbols(batch, IMAGE, TOKENS)
    assert list(layout.views) == views
    visible = dense_visibility(layout)
    seen = 0
    for number, (branch, sequence) in enumerate(zip(batch, sequences, strict=True)):
        parents = layout.parent[layout.branch == number]
        assert layout.target[layout.branch == number].tolist() == list(branch.response)
        for step, parent in enumerate(parents):
            length = len(branch.prompt) + step
            columns = np.flatnonzero(visible[parent])
            expected = [(int(symbol), depth) for depth, symbol in enumerate(sequence[:length])]
            assert conversation(layout, columns) == expected
            seen += 1
    assert seen == len(layout.target)


@given(st.lists(branches(), min_size=1, max_size=8, unique=True), st.sampled_from([0.0, 3.0, 1e9]))
def test_trees_cover_every_column_and_groups_see_only_their_trunk_and_themselves(batch, pairs_per_token):
    layout = lay_out(batch, IMAGE, TOKENS, pairs_per_token)
    visible = dense_visibility(layout)
    covered = []
    for tree in layout.trees:
        trunk = range(tree.trunk.start, tree.trunk.start + tree.trunk.length)
        covered += trunk
        for group in tree.groups:
            own = range(group.start, group.start + group.length)
            covered += own
            for column in own:
                allowed = {*trunk, *own}
                assert set(np.flatnonzero(visible[column])) <= allowed
                assert set(trunk) <= set(np.flatnonzero(visible[column]))
    assert covered == list(range(layout.columns))


@given(st.lists(branches(), min_size=1, max_size=8, unique=True))
def test_where_tokens_are_dear_nothing_is_repeated(batch):
    trie = Trie()
    for sequence in branch_symbols(batch, IMAGE, TOKENS)[0]:
        trie.insert(sequence)
    assert lay_out(batch, IMAGE, TOKENS, pairs_per_token=1e9).columns == trie.tokens


def test_two_images_behind_one_opening_become_two_trees():
    batch = [
        Branch((Path(view),), (1, *[IMAGE] * TOKENS, *range(10, 40)), (answer, 5, 2))
        for view in "ab"
        for answer in (7, 8)
    ]
    layout = lay_out(batch, IMAGE, TOKENS, pairs_per_token=100.0)
    assert len(layout.trees) == 2
    assert [tree.trunk.length for tree in layout.trees] == [35, 35]
    assert layout.columns == 2 * (35 + 2 * 2)


def test_bins_are_filled_in_order_and_shared_tokens_count_once():
    image = list(range(-1, -9, -1))
    units = [[symbols([1, *image, 10 + q, a]) for a in (20, 21)] for q in range(4)]
    # The first unit takes 9 + 3 tokens, each further one 3.
    assert fill_bins(units, 15, "limit") == [[0, 1], [2, 3]]
    assert fill_bins(units, 21, "limit") == [[0, 1, 2, 3]]
    with pytest.raises(
        TrainingError, match=r"take 12 tokens \(the longest sequence 11\), more than limit=11; raise limit"
    ):
        fill_bins(units, 11, "limit")


def test_a_bin_that_is_large_enough_takes_in_only_what_it_shares_something_with():
    def unit(view, question):
        return [symbols([1, *range(-20 * view - 20, -20 * view), 10 + question, 20])]

    units = [unit(0, 0), unit(0, 1), unit(1, 0), unit(1, 1), unit(2, 0)]
    assert fill_bins(units, 1000, "limit", enough=10) == [[0, 1], [2, 3], [4]]
    assert fill_bins(units, 1000, "limit", enough=30) == [[0, 1, 2, 3], [4]]
    assert fill_bins(units, 1000, "limit") == [[0, 1, 2, 3, 4]]


@given(st.lists(st.lists(SEQUENCE, min_size=1, max_size=3), max_size=8), st.integers(18, 40), st.none() | st.just(9))
def test_every_unit_is_in_one_bin_and_no_bin_is_too_large(units, limit, enough):
    arrays = [[symbols(sequence) for sequence in unit] for unit in units]
    bins = fill_bins(arrays, limit, "limit", enough)
    assert [number for part in bins for number in part] == list(range(len(units)))
    for part in bins:
        trie = Trie()
        for number in part:
            for sequence in arrays[number]:
                trie.insert(sequence)
        assert trie.tokens <= limit
