"""How a command is called: help, version, completion, and the path from the environment."""

import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import cwstore
from cwstore.cli import main
from cwstore.cli.parser import make_parser, run
from cwstore.cli.values import count, duration, readable_bytes, size, workers
from cwstore.migrations import api as migrations
from cwstore.store import Store

NEWEST = migrations.status(":memory:").newest


@pytest.fixture
def current(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the newest version, in the folder where the command runs."""
    Store.open(file).close()
    monkeypatch.chdir(file.parent)
    return file


def test_who_calls_with_nothing_gets_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: cwstore ")
    assert "prune" in err


def test_the_version_names_the_package_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = f"cwstore {cwstore.__version__}, schema version {NEWEST}\n"
    assert capsys.readouterr() == (said, "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_is_one_that_the_shell_takes(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert "older-than" in script
    if shell == "bash":
        (tmp_path / "script").write_text(script, encoding="utf-8")
        subprocess.run(["bash", "-n", tmp_path / "script"], check=True)


def test_completion_without_the_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--completion", "bash"]) == 1
    said = "cwstore: completion needs shtab: pip install 'cwstore[cli]'\n"
    assert capsys.readouterr() == ("", said)


def arguments_of(parser: ArgumentParser) -> Iterator[str]:
    """Each as its help shows it, then what is taken: how many, of what, which; and the default."""
    for one in parser._actions:
        shown = " ".join([*one.option_strings, str(one.metavar or one.dest)])
        which = one.choices if isinstance(one.choices, list) else None
        taken = (one.nargs, getattr(one.type, "__name__", None), which, one.const, one.default)
        yield f"  {shown}: {one.help} [{' '.join(str(it) for it in taken if it is not None)}]"


def command_line() -> Iterator[str]:
    parser = make_parser()
    yield f"{parser.prog}: {parser.description}"
    yield str(parser.epilog)
    yield from arguments_of(parser)
    (commands,) = (one for one in parser._actions if isinstance(one, _SubParsersAction))
    for name, command in commands.choices.items():
        (listed,) = (one for one in commands._choices_actions if one.dest == name)
        yield f"{command.prog}: {command.description}"
        assert listed.help == command.description
        assert command._defaults.pop("parser") is command
        yield f"  {command._defaults}"
        yield from arguments_of(command)


def test_commands_and_their_arguments_are_as_recorded() -> None:
    """Whoever changes one reads tests/data/command_line.txt as a user, and records it there."""
    recorded = Path(__file__).parents[1] / "data" / "command_line.txt"
    assert [*command_line()] == recorded.read_text(encoding="utf-8").splitlines()


# CWSTORE_PATH


def test_the_path_comes_from_the_environment_where_it_is_left_out(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", str(current))
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith(f"{current}: OK")


def test_a_path_that_is_given_goes_before_the_environment(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", "other.db")
    assert main(["check", str(current)]) == 0
    assert capsys.readouterr().out.startswith(f"{current}: OK")


def test_a_single_argument_that_is_no_file_is_the_second_one(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", str(current))
    assert main(["backup", "copy.db"]) == 0
    assert capsys.readouterr().out.startswith("copy.db: ")
    assert main(["backup", current.name]) == 0  # there is such a file: it is PATH
    assert capsys.readouterr().out.startswith(f"{current.name}.2")


def test_a_single_argument_that_is_a_link_to_nowhere_is_the_path(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", str(current))
    current.with_name("link").symlink_to("nowhere")
    assert main(["backup", "link"]) == 1
    said = f"{current.with_name('nowhere')} is not there; give the path of a cwstore file"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, ""])
def test_no_path_at_all_is_wrong_usage(
    value: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CWSTORE_PATH", raising=False)
    if value is not None:
        monkeypatch.setenv("CWSTORE_PATH", value)
    with pytest.raises(SystemExit) as stopped:
        main(["check"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        "cwstore check: error: PATH is missing: give the path of the cwstore file,"
        " or set CWSTORE_PATH\n"
    )


# Values


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0.5s", timedelta(seconds=0.5)),
        ("45s", timedelta(seconds=45)),
        ("45min", timedelta(minutes=45)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("1.5W", timedelta(weeks=1.5)),
        (" 2 d ", timedelta(days=2)),
        ("36500d", timedelta(days=36500)),
    ],
)
def test_a_time_span_has_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert duration(text) == span


@pytest.mark.parametrize(
    ("text", "number"),
    [("10", 10), ("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), ("2gib", 2**31), ("7KiB", 7 * 2**10)],
)
def test_a_size_is_in_bytes_or_has_a_unit(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize(
    ("read", "text", "number"),
    [(workers, "1", 1), (workers, "64", 64), (count, "0", 0), (count, "9" * 15, 10**15 - 1)],
)
def test_a_count_is_a_whole_number(read: Callable[[str], int], text: str, number: int) -> None:
    assert read(text) == number


def test_an_error_of_the_system_without_a_number_is_told_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Namespace) -> int:
        raise OSError("no number")

    assert run("cwstore show", fail, Namespace(json=False)) == 1
    assert capsys.readouterr().err.startswith(
        "cwstore show: cannot write to standard output: no number; "
    )


NO_SPAN = " is not a time span: write 45min, 12h, 30d or 2w"
NO_SIZE = " is not a size: write 500MB, 2GB, 2GiB, or bytes"


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (duration, "6m", f"'6m'{NO_SPAN}"),  # minutes or months?
        (duration, "30", f"'30'{NO_SPAN}"),
        (duration, "-3d", f"'-3d'{NO_SPAN}"),
        (duration, "", f"''{NO_SPAN}"),
        (duration, "٣d", f"'٣d'{NO_SPAN}"),
        (duration, "0d", "'0d' must be longer than 0 and at most 36500d"),
        (duration, "99999999999w", "'99999999999w' must be longer than 0 and at most 36500d"),
        (size, "2 gigs", f"'2 gigs'{NO_SIZE}"),
        (size, "-1", f"'-1'{NO_SIZE}"),
        (size, "GB", f"'GB'{NO_SIZE}"),
        *((workers, text, "must be a number from 1 to 64") for text in ("0", "65", "x", "²", "٣")),
        *((count, text, f"'{text}' is not a number, 0 or more") for text in ("-1", "x", "٣")),
        (count, "9" * 16, f"'{'9' * 16}' is not a number, 0 or more"),
        (duration, "36501d", "'36501d' must be longer than 0 and at most 36500d"),
    ],
)
def test_what_could_mean_two_things_is_refused(
    read: Callable[[str], object], text: str, problem: str
) -> None:
    with pytest.raises(ArgumentTypeError) as refused:
        read(text)
    assert str(refused.value) == problem


def test_bytes_are_shown_with_a_unit() -> None:
    assert [readable_bytes(number) for number in (0, 999, 1_000, 999_960, 10**9, 5 * 10**13)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "1.0 MB",
        "1.0 GB",
        "50.0 TB",
    ]
