"""The API reference has every public name, with its docstring."""

import re
import subprocess
from pathlib import Path

import pytest

import cwstore

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_reference_has_every_public_name_and_its_methods(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "tools" / "docs", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "does not resolve" not in done.stderr
    page = (tmp_path / "cwstore.html").read_text(encoding="utf-8")
    told = set(re.findall(r'<section id="([A-Za-z_]+)"', page))
    assert set(dir(cwstore)) - told <= {"__version__"}
    for name in ("TaskRepository.claim_next_ready", "Store.export_initiative", "Task.summary"):
        assert f'id="{name}"' in page
    assert "all that hangs on it" in page
    assert (tmp_path / "cwstore" / "errors.html").exists()
