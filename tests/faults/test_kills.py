"""kill -9: what was acknowledged is there, nothing is half there, and work goes on."""

from pathlib import Path

import pytest

from tools._python.faults.kills import SUBJECTS, kill_everywhere, kill_under_load
from tools._python.faults.system_calls import Guard, watched

SUBJECT = {subject.name: subject for subject in SUBJECTS}


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("transaction over five", 9),
        pytest.param("prune", 31, marks=pytest.mark.slow),
        pytest.param("purge", 19, marks=pytest.mark.slow),
        pytest.param("backup", 61, marks=pytest.mark.slow),
        pytest.param("restore after a kill", 61, marks=pytest.mark.slow),
        pytest.param("migrate 15", 61, marks=pytest.mark.slow),
    ],
)
def test_whoever_is_killed_at_an_operation_leaves_a_whole_file(
    name: str, every: int, place: Path
) -> None:
    with watched(str(place), Guard()) as calls:
        outcome = kill_everywhere(SUBJECT[name], place, calls, every)

    assert outcome.faults == []
    assert outcome.failed == outcome.trials >= 2


def test_whoever_is_killed_under_load_loses_nothing_that_was_acknowledged(place: Path) -> None:
    load = kill_under_load(place, 12)

    assert load.faults == []
    assert load.kills == 12
    assert load.told["claim"] > 0
