"""The package frozen and zipped. test_packaging.py builds a program with PyInstaller."""

import runpy
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import pytest

import cwstore
from cwstore import MigrationError
from cwstore.migrations import scripts


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
    assert set(told["hiddenimports"]) == {
        module for module in modules if not module.startswith(left_out)
    }
    (sql, sql_place), (page, page_place) = told["datas"]
    assert (sql_place, page_place) == ("cwstore/sql", "cwstore/_overview")
    assert (Path(sql) / "migrations" / "0001_initiatives_and_projects.sql").is_file()
    assert {one.name for one in Path(page).parent.glob("page.*")} >= {"page.css", "page.js"}


def test_a_package_in_an_archive_says_that_its_scripts_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "app.zip"
    archive.write_bytes(b"")
    module = archive / "cwstore" / "migrations" / "scripts.py"
    monkeypatch.setattr(scripts, "__file__", str(module))
    with pytest.raises(MigrationError) as refused:
        scripts.load()
    assert str(refused.value) == (
        f"cannot read the migrations in {archive}/sql/migrations: Not a directory; a package in an"
        " archive has no files: unpack cwstore, and apsw, beside it"
    )
