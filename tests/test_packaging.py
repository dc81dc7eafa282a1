"""What is published: the wheel made from the sdist, used where nothing else is installed."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
SQL = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "sql").rglob("*")
    if path.is_file() and not path.name.startswith(".")
}
MIGRATIONS = sorted(name for name in SQL if name.startswith("sql/migrations/"))

# Built once: the tests of this file stay in one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]


def run(*command: str | Path, cwd: Path, path: str = "", said: str = "") -> str:
    """Standard output of a command that must succeed, and sees nothing of this checkout.

    Modules are found in `path` first; `said` is its standard input.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        command, cwd=cwd, env=environment, input=said, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist of this checkout and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return dist / f"cwstore-{version('cwstore')}-py3-none-any.whl"


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel and apsw, made without asking any index."""
    home = tmp_path_factory.mktemp("empty")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))", cwd=home)
    copy_distribution("apsw", Path(site.strip()))
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-index", wheel, cwd=home)
    run(*pip, "check", cwd=home)
    return python


def copy_distribution(name: str, site: Path) -> None:
    """Copy an installed distribution, what pip knows of it included, to other site-packages."""
    for file in distribution(name).files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(str(file.locate())).read_bytes())


def test_the_wheel_holds_the_package_and_its_sql_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {PurePosixPath(name).parts[0] for name in names}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cwstore").rglob("*")
        if path.suffix in (".py", ".css", ".js") or path.name == "py.typed"
    }
    assert tops == {"cwstore", f"cwstore-{version('cwstore')}.dist-info"}
    assert {name for name in names if name.startswith("cwstore/")} == (
        package | {f"cwstore/{name}" for name in SQL}
    )


def test_the_sdist_holds_what_a_checkout_holds(dist: Path) -> None:
    with tarfile.open(dist / f"cwstore-{version('cwstore')}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    top = "cwstore sql tests tools pyproject.toml README.md .gitignore PKG-INFO"
    assert {name.partition("/")[0] for name in names} == set(top.split())
    assert names >= SQL


def test_the_index_would_take_it(dist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)


def test_it_runs_optimised_and_isolated_from_packages_that_cannot_be_written(
    python: Path, tmp_path: Path
) -> None:
    script = (
        "import cwstore, sys\n"
        "with cwstore.Store.open(sys.argv[1]) as store, store.changes() as feed:\n"
        "    store.tasks.create(name='t', id='t')\n"
        "    print(store.tasks.claim_next_ready().name, feed.get()[0].id)\n"
    )
    where = run(python, "-c", "import cwstore; print(cwstore.__path__[0])", cwd=tmp_path)
    site = Path(where.strip())
    folders = [site, *(one for one in site.rglob("*") if one.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        options = ("-OO", "-I", "-B", "-W", "error")
        assert run(python, *options, "-c", script, tmp_path / "new.db", cwd=tmp_path) == "t t\n"
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_program_that_pyinstaller_made_opens_a_store(python: Path, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    (tmp_path / "program.py").write_text(
        "import cwstore, sys\n"
        "from cwstore.cli import main\n"
        "if len(sys.argv) > 2:\n"
        "    sys.exit(main(sys.argv[1:]))\n"
        "with cwstore.Store.open(sys.argv[1]) as store, store.changes() as feed:\n"
        "    store.tasks.create(name='t', id='t')\n"
        "    print(store.version, store.tasks.claim_next_ready().name, feed.get()[0].id)\n"
    )
    site = run(
        python, "-c", "import apsw, os; print(os.path.dirname(apsw.__path__[0]))", cwd=tmp_path
    )
    options = ["--onedir", "--noconfirm", "--log-level=WARN"]
    for extra in ("numpy", "pandas", "psycopg", "psycopg_binary", "opentelemetry", "trio", "rich"):
        options += ["--exclude-module", extra]  # the environment of the tests has them all
    build = (sys.executable, "-m", "PyInstaller", *options, "program.py")
    run(*build, cwd=tmp_path, path=site.strip())
    program = tmp_path / "dist" / "program" / "program"
    assert run(program, tmp_path / "new.db", cwd=tmp_path) == f"{len(MIGRATIONS)} t t\n"
    asked = "SELECT name FROM tasks;\n"
    assert run(program, "shell", tmp_path / "new.db", cwd=tmp_path, said=asked) == "t\n"
    assert "complete" in run(program, "--completion", "bash", cwd=tmp_path)


def test_an_installed_store_opens_a_database_at_the_newest_version(
    python: Path, tmp_path: Path
) -> None:
    script = (
        "import cwstore, sys\n"
        "with cwstore.Store.open(sys.argv[1]) as store:\n"
        "    print(store.version, cwstore.__file__)\n"
    )
    opened, place = run(python, "-c", script, tmp_path / "new.db", cwd=tmp_path).split(maxsplit=1)
    assert int(opened) == len(MIGRATIONS)
    assert Path(place.strip()).is_relative_to(python.parent.parent)


@pytest.mark.parametrize("by_module", [True, False])
def test_the_installed_command_explains_itself(
    python: Path, tmp_path: Path, by_module: bool
) -> None:
    command = (python, "-m", "cwstore") if by_module else (python.with_name("cwstore"),)
    assert "migrate" in run(*command, "--help", cwd=tmp_path)
