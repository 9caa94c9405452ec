"""The radix trie against the set of prefixes it stands for, and the layout against visibility by definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.engine.bins import fill_bins
from mmedpo.engine.branches import Branch
from mmedpo.engine.layout import branch_symbols, lay_out, visibility
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


def describe(branch):
    """Columns of each view's tokens."""
    placeholders = np.flatnonzero(np.array(branch.prompt) == IMAGE)
    return list(placeholders.reshape(-1, TOKENS))


def every_visibility(layout, window=None):
    every = np.arange(layout.columns)
    return visibility(layout, every, every, window)


def read(layout):
    """What stands in every column: a text token, or (view, offset) of an image token."""
    text = [int(token) for token in layout.ids]
    for number, column in enumerate(np.flatnonzero(layout.ids == IMAGE)):
        text[column] = (layout.pictures[number // TOKENS], number % TOKENS)
    return text


def written(branch):
    """The same of a branch without its last token, by definition."""
    text = [*branch.prompt, *branch.response[:-1]]
    for view, columns in zip(branch.views, describe(branch), strict=True):
        for offset, column in enumerate(columns):
            text[column] = (view, offset)
    return text


def sees(branch, query, key, window, both_ways):
    """Whether one token of a row sees another, by definition."""
    images = [set(columns.tolist()) for columns in describe(branch)]
    blocks = {"nothing": [], "images": images, "prompt": [set(range(len(branch.prompt)))]}[both_ways]
    together = any(query in block and key in block for block in blocks)
    return together or (key <= query and (window is None or query - key < window))


@given(
    st.lists(branches(), min_size=1, max_size=8, unique=True),
    st.sampled_from([0.0, 3.0, 1e9]),
    st.sampled_from([None, 1, 3, 6]),
    st.sampled_from(["nothing", "images", "prompt"]),
)
def test_in_a_layout_every_token_sees_exactly_what_it_sees_in_its_own_row(batch, pairs_per_token, window, both_ways):
    layout = lay_out(batch, describe, pairs_per_token, both_ways)
    visible, text = every_visibility(layout, window), read(layout)
    for number, branch in enumerate(batch):
        columns = layout.columns_of[number]
        assert [text[column] for column in columns] == written(branch)
        assert layout.depth[columns].tolist() == list(range(len(columns)))
        assert layout.target[layout.branch == number].tolist() == list(branch.response)
        assert layout.parent[layout.branch == number].tolist() == columns[len(branch.prompt) - 1 :].tolist()
        for query, column in enumerate(columns):
            expected = [k for k in range(len(columns)) if sees(branch, query, k, window, both_ways)]
            assert np.flatnonzero(visible[column]).tolist() == sorted(columns[expected].tolist())


@given(st.lists(branches(), min_size=1, max_size=8, unique=True))
def test_what_sees_its_whole_prompt_is_shared_only_between_answers_to_that_prompt(batch):
    shared, _ = branch_symbols(batch, describe, whole=True)
    trie = Trie()
    for sequence in shared:
        trie.insert(sequence)
    prompts = {(branch.views, branch.prompt) for branch in batch}
    assert len(trie.roots) == len(prompts)


@given(st.lists(branches(), min_size=1, max_size=8, unique=True), st.sampled_from([0.0, 3.0, 1e9]))
def test_trees_cover_every_column_and_groups_see_only_their_trunk_and_themselves(batch, pairs_per_token):
    layout = lay_out(batch, describe, pairs_per_token)
    visible = every_visibility(layout)
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
    for sequence in branch_symbols(batch, describe)[0]:
        trie.insert(sequence)
    assert lay_out(batch, describe, pairs_per_token=1e9).columns == trie.tokens


def test_two_images_behind_one_opening_become_two_trees():
    batch = [
        Branch((Path(view),), (1, *[IMAGE] * TOKENS, *range(10, 40)), (answer, 5, 2))
        for view in "ab"
        for answer in (7, 8)
    ]
    layout = lay_out(batch, describe, pairs_per_token=100.0)
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
