"""What is imported on use: where Python cannot read that, the caller is told so."""

import ast
import importlib.machinery
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cwstore
from cwstore.core.faults import loading, on_use
from cwstore.errors import ConflictError, StorageError
from tests.kits.checker import repositories
from tests.kits.disk import no_descriptors
from tests.kits.engine import Other

ROOT = Path(cwstore.__path__[0])

#: What stands elsewhere than in `with loading(...)`, and why.
ELSEWHERE = {
    "__init__.py": "to import cwstore itself takes descriptors",
    "core/__init__.py": "a module of pydantic's, which is loaded",
    "core/bodies.py": "a module of pydantic's, which is loaded",
    "core/secret.py: __get_pydantic_core_schema__": "a module of pydantic's, which is loaded",
    "core/mapping.py: field_names": "of a dataclass, so the module is loaded",
    "core/lexer.py": "while migrations run",
    "store.py: __init__": "while a store is opened",
    "_sqlite/database_file.py": "while a store is opened",
    "_sqlite/file_access.py": "while a store is opened",
    "_sqlite/new_names.py": "while a store is opened, restored or backed up",
    "_sqlite/engine.py: open_database": "while a store is opened",
    "_sqlite/engine.py: _open_to_write": "while a store is opened",
    "_sqlite/error_map.py: _path": "where a file is damaged",
    "_sqlite/fork.py: _keep_for_good": "in a forked child, which is told otherwise",
    "_sqlite/checkpoint.py": "an OSError is none there: the transaction is committed",
    "core/slow.py: tell_wait": "its callers suppress OSError",
    "_sqlite/transaction.py: end": "something was slow, so the module is loaded",
    "_sqlite/transaction.py: _with_plans": "something was slow, so the module is loaded",
    "entities/__init__.py": "a public name of cwstore itself",
}
#: Of these each module is reached through a call that holds `loading`, or has no file.
WITHIN = ("_sqlite/schema", "migrations", "_postgres", "aio", "cli", "_demo", "testing")


def imports_on_use(node: ast.AST, function: str = "", *, safe: bool = False) -> Iterator[str]:
    """The innermost function of each import that an OSError would leave."""
    for one in ast.iter_child_nodes(node):
        match one:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                for other in one.orelse:
                    yield from imports_on_use(other, function, safe=safe)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from imports_on_use(one, one.name, safe=False)
            case ast.With():
                held = {ast.unparse(item.context_expr) for item in one.items}
                holds = any("loading(" in text or "OSError" in text for text in held)
                yield from imports_on_use(one, function, safe=safe or holds)
            case ast.Import() | ast.ImportFrom() if function and not safe:
                yield function
            case _:
                yield from imports_on_use(one, function, safe=safe)


def test_whatever_is_imported_on_use_is_told_as_an_error_of_ours_where_it_cannot_be_read() -> None:
    bare: set[str] = set()
    for file in ROOT.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if name in ELSEWHERE or name.startswith((*WITHIN, "otel", "_pyinstaller")):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        bare |= {f"{name}: {function}" for function in imports_on_use(tree)}
    assert bare <= ELSEWHERE.keys()


def test_what_cannot_be_loaded_is_called_as_the_caller_knows_it() -> None:
    told: set[str] = set()
    for file in ROOT.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        told.update(re.findall(r'\b(?:loading\(|on_use\(".*?", )"(.*?)"\)', text))
    known = {*dir(cwstore), *dir(cwstore.Store), *cwstore.Account.__annotations__}
    for repository in repositories().values():
        known |= {*dir(repository)}
    assert told - known == {"dataclasses", "json"}  # which are Python's


PROBE = """
import sys
from cwstore.store import Store
from tests.kits.disk import no_descriptors
from tests.kits.engine import Other

for read_only in (False, True):
    with Store.open(sys.argv[1], read_only=read_only) as store:
        with no_descriptors():
            report = store.health()
        print(report.ok, report.seconds, report.disk_free_bytes, report.wal_bytes)
        print(*report.problems)
    for name in ("health", "lock_holders"):
        sys.modules.pop(f"cwstore._sqlite.{name}", None)
"""


def test_without_descriptors_a_probe_answers_at_its_first_call(file: Path) -> None:
    with Other(PROBE, file) as other:
        told = other.end()
    text = (
        "`health` cannot be loaded: Too many open files; close files, or let this process have more"
        " of them open (ulimit -n), then try again"
    )
    assert told == ["False 0.0 None None", text] * 2


def test_a_module_in_c_that_cannot_be_opened_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"cwstore_in_c{suffix}").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="too short"), loading("it"):  # it is not what it must be
        import cwstore_in_c  # type: ignore[import-not-found]
    with no_descriptors(), pytest.raises(StorageError, match="many open files"), loading("it"):
        import cwstore_in_c  # type: ignore[import-not-found] # noqa: F401


def test_a_module_in_c_for_which_there_is_no_memory_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linker = "raise ImportError('libz.so.1: failed to map segment from shared object')"
    (tmp_path / "cwstore_unmapped.py").write_text(linker, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StorageError) as caught, loading("it"):
        import cwstore_unmapped  # type: ignore[import-not-found] # noqa: F401
    assert str(caught.value) == (
        "`it` cannot be loaded: Cannot allocate memory; let this process have more (ulimit -v, the"
        " container's limit), then try again"
    )


def test_a_disk_that_does_not_give_a_module_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwstore_unread.py").symlink_to("/proc/self/mem")  # at its beginning nobody reads
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StorageError) as caught, loading("it"):
        import cwstore_unread  # type: ignore[import-not-found] # noqa: F401
    assert str(caught.value) == (
        "`it` cannot be loaded: Input/output error; see whether the disk that Python and cwstore"
        " are installed on can be read, then try again"
    )


def test_a_module_on_use_is_read_when_something_of_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwstore_late.py").write_text("thing = 1", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    late: Any = on_use("cwstore_late", "tasks")
    with (
        no_descriptors(),
        pytest.raises(StorageError, match=r"^`tasks` cannot be loaded: Too many"),
    ):
        _ = late.thing
    monkeypatch.setitem(sys.modules, "cwstore_late", ModuleType("cwstore_late"))
    with pytest.raises(ConflictError, match=r"^this thread is in the midst of loading `tasks`, wh"):
        _ = late.thing
    monkeypatch.delitem(sys.modules, "cwstore_late")
    assert late.thing == 1
    (tmp_path / "cwstore_late.py").unlink()
    assert late.thing == 1


def test_what_is_no_import_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = "raise OSError(28, 'No space left on device')"
    (tmp_path / "cwstore_full.py").write_text(full, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError, match="No space left"), loading("it"):
        import cwstore_full  # type: ignore[import-not-found] # noqa: F401
    with pytest.raises(FileNotFoundError), loading("it"):
        (tmp_path / "gone").stat()
    with pytest.raises(ModuleNotFoundError), loading("it"):
        import cwstore_not_there  # type: ignore[import-not-found] # noqa: F401
