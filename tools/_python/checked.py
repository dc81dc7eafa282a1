"""Which packages have statements, and the check of all of them."""

import tomllib
from pathlib import Path

import cwstore._overview
import cwstore._transfer
import cwstore.entities
from cwstore.testing import Report, check_statements

ROOT = Path(__file__).resolve().parents[2]

#: The first one has to need every index of the schema; the others use what is there.
PACKAGES = (cwstore.entities, cwstore._overview, cwstore._transfer)
#: Plans that are tolerated: check -> subject -> reason.
ALLOWED: dict[str, dict[str, str]] = tomllib.loads(
    (ROOT / "tools" / "_data" / "allowed_plans.toml").read_text(encoding="utf-8")
)


def check_all(sql: Path = ROOT / "sql") -> Report:
    """One report on the statements of all packages."""
    reports = [
        check_statements(
            package,
            sql / "migrations",
            allow=_allowed_in(Path(package.__path__[0])),
            whole=package is PACKAGES[0],
        )
        for package in PACKAGES
    ]
    return Report(
        tuple(fault for report in reports for fault in report.faults),
        tuple(line for report in reports for line in report.lines),
    )


def _allowed_in(folder: Path) -> dict[str, dict[str, str]]:
    """The allowances for the modules of a package, which has no packages below it."""
    return {
        check: {
            subject: reason
            for subject, reason in subjects.items()
            if (folder / f"{subject.partition('.')[0]}.py").exists()
        }
        for check, subjects in ALLOWED.items()
    }
