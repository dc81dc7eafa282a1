"""Dependencies first, else in the order given."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.entities.ordering import dependencies_first
from cwstore.errors import CorruptDatabaseError


@dataclass(frozen=True)
class Node:
    id: str


def order(ids: str, *edges: str) -> str:
    """`order("abc", "ab")`: a depends on b."""
    rows = dependencies_first([Node(one) for one in ids], [(edge[0], edge[1]) for edge in edges])
    return "".join(row.id for row in rows)


@pytest.mark.parametrize(
    ("ids", "edges", "expected"),
    [
        ("", [], ""),
        ("cab", [], "cab"),
        ("abc", ["ab"], "bac"),
        ("abc", ["ac"], "bca"),
        ("abc", ["ab", "bc"], "cba"),
        ("abcd", ["ac", "bd"], "cadb"),
        ("abcd", ["ad"], "bcda"),
        ("ab", ["ax", "xb"], "ba"),
        ("ab", ["ax", "xy", "yb"], "ba"),
        ("ab", ["bx", "xa"], "ab"),
        ("ab", ["xa", "xb"], "ab"),
        ("ab", ["ax", "bx"], "ab"),
        ("b", ["xy"], "b"),
    ],
)
def test_what_is_needed_comes_first_and_the_rest_keeps_its_order(
    ids: str, edges: list[str], expected: str
) -> None:
    assert order(ids, *edges) == expected


@given(
    ids=st.permutations("abcdefgh"),
    pairs=st.sets(st.tuples(st.sampled_from("abcdefghxyz"), st.sampled_from("abcdefghxyz"))),
    rank=st.permutations("abcdefghxyz"),
)
def test_it_is_the_earliest_of_all_orders_that_respect_every_edge(
    ids: list[str], pairs: set[tuple[str, str]], rank: list[str]
) -> None:
    """Edges that agree with one ranking cannot form a cycle."""
    edges = {(one, two) for one, two in pairs if rank.index(one) > rank.index(two)}
    needs = {one: {two for dependent, two in edges if dependent == one} for one in rank}
    for one in rank:  # the rank comes from below, so one round closes it
        for two in tuple(needs[one]):
            needs[one] |= needs[two]
    left, expected = list(ids), list[str]()
    while left:
        expected.append(next(one for one in left if not needs[one] & set(left)))
        left.remove(expected[-1])
    assert order("".join(ids), *(one + two for one, two in edges)) == "".join(expected)


@pytest.mark.parametrize("edges", [["aa"], ["ab", "ba"], ["ax", "xa"], ["ax", "xy", "yx"]])
def test_a_cycle_is_reported_and_no_row_is_lost(edges: list[str]) -> None:
    with pytest.raises(
        CorruptDatabaseError,
        match=(
            r"^dependencies form a cycle, which the database forbids: another program stored it;"
            r" find"
            " and delete one edge of it$"
        ),
    ):
        order("abc", *edges)


def test_a_long_chain_is_no_deeper_than_a_short_one() -> None:
    nodes = [Node(str(number)) for number in range(20_000)]
    edges = [(str(number), str(number + 1)) for number in range(19_999)]
    assert dependencies_first(nodes, edges) == nodes[::-1]
