"""tools/bakeoff judges rightly: cwstore passes, what one writes in an afternoon does not."""

from pathlib import Path

import pytest

from tools._python.bakeoff.__main__ import measure, table

# By what is right about them, a simple tool and SQLite pass: foreign keys are off, triggers whole.
EASY = ["E", "G"]


@pytest.mark.slow
def test_cwstore_passes_the_scenarios(tmp_path: Path) -> None:
    """D and I take long, and have tests of their own."""
    results = measure(["cwstore"], list("ABCEFGHJ"), tmp_path)
    assert [found["cwstore"] for found in results.values()] == [[]] * 8


@pytest.mark.slow
def test_a_simple_tool_fails_and_is_told_why(tmp_path: Path) -> None:
    results = measure(["tests.kits.bakeoff"], list("ABCDEFGHIJ"), tmp_path)
    found = {letter: "; ".join(of["tests.kits.bakeoff"]) for letter, of in results.items()}
    assert [letter for letter, text in found.items() if not text] == EASY
    assert "a part of the script stays" in found["A"]
    assert "without a word" in found["B"]
    assert "another literal is accepted" in found["C"]
    assert "of 6 fail" in found["D"]
    assert found["F"] == "violations are accepted without a word"
    assert "an empty file is migrated" in found["H"]
    assert "kill" in found["I"]
    assert "a gap is accepted" in found["J"]


def test_the_table_has_a_column_for_each_tool() -> None:
    results = {"A": {"cwstore": list[str](), "yoyo": ["it fails"]}}
    assert table(results, ["cwstore", "yoyo"]) == [
        "|                            | cwstore | yoyo   |",
        "| -------------------------- | ------- | ------ |",
        "| A a second statement fails | passes  | fails  |",
    ]
