"""tools/handshake measures what it says; how fast it is, no test says."""

from pathlib import Path

from cwstore.migrations.api import status
from tools._python.handshake import migrations, openings


def test_every_way_to_open_a_file_is_timed_in_every_round(tmp_path: Path) -> None:
    found = openings(tmp_path, rounds=2, calls=1)
    assert {name: len(times) for name, times in found.items()} == {
        "bare": 2,
        "handshake": 2,
        "Store.open": 2,
    }
    assert status(tmp_path / "store.db").pending == ()


def test_a_hundred_migrations_are_applied_to_a_new_file_each_round(tmp_path: Path) -> None:
    found = migrations(tmp_path, rounds=2)
    assert {name: len(times) for name, times in found.items()} == {
        "1 migration": 2,
        "100 migrations": 2,
    }
    for number in range(2):
        directory = tmp_path / "100 migrations"
        assert status(tmp_path / f"{number} 100 migrations.db", directory=directory).version == 100
