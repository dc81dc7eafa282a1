"""The package frozen and zipped. test_packaging.py builds a program with PyInstaller."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import zipapp
import zipfile
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import pytest

import cwstore
from cwstore import MigrationError
from cwstore.migrations import scripts
from cwstore.migrations.scripts import default_directory


def asked_for_by_text(package: Path) -> set[str]:
    """The modules that `import_module` is given by name, but in what no program needs."""
    found = {
        name
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] != "testing"
        for name in re.findall(r"""\bimport_module\("([\w.]+)"\)""", file.read_text("utf-8"))
    }
    assert found >= {"apsw.shell", "shtab"}
    return found


def test_the_hook_names_every_module_that_a_program_may_import_and_every_file_that_it_reads() -> (
    None
):
    (hook,) = {one.value for one in entry_points(group="pyinstaller40") if "cwstore" in one.value}
    module, _, function = hook.partition(":")
    (directory,) = cast("list[str]", getattr(import_module(module), function)())
    told = runpy.run_path(str(Path(directory) / "hook-cwstore.py"))
    package = Path(cwstore.__file__).parent
    modules = {
        ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in package.rglob("*.py")
    }
    left_out = ("cwstore.testing", "cwstore._pyinstaller")
    assert set(told["hiddenimports"]) == asked_for_by_text(package) | {
        "apsw.fts5aux",  # by apsw's shell
        *(module for module in modules if not module.startswith(left_out)),
    }
    (sql, sql_place), (page, page_place) = told["datas"]
    assert (sql_place, page_place) == ("cwstore/sql", "cwstore/_overview")
    assert (Path(sql) / "migrations" / "0001_initiatives_and_projects.sql").is_file()
    assert {one.name for one in Path(page).parent.glob("page.*")} >= {"page.css", "page.js"}


_PROGRAM = """
import sys
from pathlib import Path
import cwstore
from cwstore.cli import main

file = sys.argv[1]
own = cwstore.Extension("notes", migrations=Path(__file__).parent / "notes" / "sql")
with cwstore.Store.open(file, extensions=[own]) as store:
    store.initiatives.create(name="Zipped")
    store.query("SELECT text FROM notes_all")
print(Path(cwstore.__file__).parent.parent.name)
sys.exit(main(["report", file, "-o", "-"]))
"""


@pytest.mark.slow
def test_a_program_in_an_archive_has_the_scripts_of_cwstore_and_its_own(tmp_path: Path) -> None:
    program = tmp_path / "program"
    package = Path(cwstore.__file__).parent
    shutil.copytree(package, program / "cwstore", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        Path(default_directory()).parent, program / "cwstore" / "sql", dirs_exist_ok=True
    )
    (program / "__main__.py").write_text(_PROGRAM)
    (program / "notes" / "sql").mkdir(parents=True)
    script = "CREATE TABLE notes_all (id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;\n"
    (program / "notes" / "sql" / "0001_notes.sql").write_text(script)
    zipapp.create_archive(program, tmp_path / "app.pyz")
    # Coverage would look for the source of what lies in the archive.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run(
        [sys.executable, tmp_path / "app.pyz", tmp_path / "one.db"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    name, page = done.stdout.split("\n", 1)
    assert name == "app.pyz"
    assert "Zipped" in page
    assert "<style>" in page


def test_scripts_in_an_archive_are_those_of_their_directory_alone(tmp_path: Path) -> None:
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("cwstore/", "")
        made.writestr("cwstore/sql/migrations/", "")
        made.writestr("cwstore/sql/migrations/0002_two.sql", "SELECT 2;\r\n")
        made.writestr("cwstore/sql/migrations/0001_one.sql", "SELECT 1;\n")
        made.writestr("cwstore/sql/migrations/.0003_hidden.sql", "")
        made.writestr("cwstore/sql/migrations/deeper/0003_three.sql", "")
        made.writestr("0003_outside.sql", "")
    found = scripts.load(archive / "cwstore" / "sql" / "migrations")
    assert [(file.version, file.name, file.text) for file in found] == [
        (1, "0001_one", "SELECT 1;\n"),
        (2, "0002_two", "SELECT 2;\n"),
    ]


def test_what_is_no_archive_holds_no_scripts(tmp_path: Path) -> None:
    place = tmp_path / "text" / "sql"
    place.parent.write_text("no archive")
    with pytest.raises(MigrationError) as refused:
        scripts.load(place)
    assert str(refused.value) == (
        f"cannot read the migrations in {place}: Not a directory; give a directory with"
        " 0001_<name>.sql that this user may read"
    )


def test_a_package_in_an_archive_looks_for_its_scripts_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "app.pyz" / "cwstore"
    monkeypatch.setattr(scripts, "__file__", str(package / "migrations" / "scripts.py"))
    assert default_directory() == str(package / "sql" / "migrations")
