"""Find the migration scripts of a directory, load them and check their numbers."""

import os
import re
from binascii import crc32
from typing import TYPE_CHECKING, NamedTuple

from cwstore.core.checks import check_application_id, check_directory
from cwstore.errors import InvalidValueError, MigrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwstore.core.extension import Extension
    from cwstore.migrations.headers import Script

APPLICATION_ID = 0x43575354  # "CWST"
LEDGER = "schema_migrations"
_NAME = r"([0-9]{4})_[A-Za-z0-9][A-Za-z0-9_-]*\.sql"  # compiled on first use


class MigrationFile:
    """A script as it lies in the directory; its line endings are always those of Unix."""

    __slots__ = ("_script", "name", "of", "text", "text_sum", "version")

    def __init__(self, version: int, name: str, text: str, of: str = "") -> None:
        self.version = version
        #: The extension, if it is one's.
        self.of = of
        #: Without .sql.
        self.name = name
        self.text = text
        #: Of `text`: if two are equal, the scripts are the same, and nobody has to parse them.
        self.text_sum = crc32(text.encode())
        self._script: Script | None = None

    @property
    def label(self) -> str:
        """As reports call it: "0001_tasks", of an extension "billing/0001_invoices"."""
        return f"{self.of}/{self.name}" if self.of else self.name

    @property
    def file_name(self) -> str:
        """As messages call it: "0001_tasks.sql", of an extension "billing/0001_invoices.sql"."""
        return self.called(self.name)

    def called(self, name: str) -> str:
        """How messages would call a script beside it."""
        return f"{self.of}/{name}.sql" if self.of else f"{name}.sql"

    def parse(self) -> "Script":
        """What the script says. It is parsed at the first call. Raises MigrationError."""
        if self._script is None:
            # Opening an up-to-date file parses nothing and need not compile the tokeniser.
            from cwstore.migrations.headers import parse

            self._script = parse(self.version, self.file_name, self.text)
        return self._script


class Program(NamedTuple):
    """Whose databases these are: the scripts that make them, and the number that marks them."""

    directory: str | os.PathLike[str] | None = None  #: None: the scripts of cwstore
    application_id: int = APPLICATION_ID
    extensions: "tuple[Program, ...]" = ()
    extension: str = ""  #: the name, if it is an extension of a program
    host: str | os.PathLike[str] | None = None  #: of an extension, the scripts of that program
    engine: str = ""  #: whose scripts of cwstore these are; "": of SQLite

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.extension:
            return f"the extension {self.extension}"
        return "cwstore" if self.application_id == APPLICATION_ID else "the program"

    @property
    def prefix(self) -> str:
        """How the names of everything begin that its scripts make."""
        return f"{self.extension}_" if self.extension else ""

    @property
    def hidden(self) -> tuple[str, str] | None:
        """The table and the column that a query of a person's own does not show."""
        return ("accounts", "credentials") if self.application_id == APPLICATION_ID else None

    @property
    def ledger(self) -> str:
        """The table that tells which scripts were applied."""
        return f"{self.prefix}{LEDGER}"


def program_of(
    directory: str | os.PathLike[str] | None,
    application_id: int | None,
    extensions: "Sequence[Extension]" = (),
    engine: str = "",
) -> Program:
    """A program as a caller describes it. Raises InvalidValueError."""
    number = APPLICATION_ID if application_id is None else check_application_id(application_id)
    if directory is None and number != APPLICATION_ID:  # its files would get the tables of cwstore
        raise InvalidValueError(
            "directory", "a program with an application_id of its own has its own migrations"
        )
    brought = [
        Program(one.migrations, number, (), one.name, directory, engine) for one in extensions
    ]
    return Program(directory, number, tuple(brought), engine=engine)


OURS = Program()


def scripts_of(program: Program) -> "list[MigrationFile]":
    """The migrations of a program. Raises MigrationError."""
    if program.directory is None and program.engine:
        return load(_beside(default_directory(), program.engine), FIRST[program.engine])
    return load(program.directory, of=program.extension)


#: The number of the first script of cwstore for an engine, which does what those before it did.
FIRST = {"postgresql": 17}


def _beside(directory: str, name: str) -> str:
    return os.path.join(os.path.dirname(directory), name)


def newest(files: "list[MigrationFile]") -> int:
    """The version that these scripts lead to."""
    return files[-1].version


# The scripts of our own directory, by its path, as this process found them first. They go with the
# code that it has loaded: if cwstore is upgraded on disk meanwhile, newer ones are not applied.
_own: dict[str, list[MigrationFile]] = {}


def default_directory() -> str:
    """`sql/migrations` of the installed package, or of the checkout it is imported from."""
    package = os.path.dirname(os.path.dirname(__file__))
    installed = f"{package}/sql/migrations"
    if os.path.isdir(installed) or not os.path.isdir(package):
        return installed  # in an archive it is no directory either
    return os.path.join(os.path.dirname(package), "sql", "migrations")


def load(
    directory: str | os.PathLike[str] | None = None, first: int = 1, of: str = ""
) -> list[MigrationFile]:
    """The migrations of a directory (None: our own), number `first` first, without a gap.

    `of` is the extension that they are of.
    The directory may lie in a zip archive, as of zipapp or pex. Hidden files and those that do not
    end in .sql or .SQL are left out. Raises MigrationError: no such directory, none in it, a bad
    name, no text, a gap, a number used twice.
    """
    place = default_directory() if directory is None else check_directory("directory", directory)
    own = directory is None or first > 1
    if own and place in _own:
        return _own[place]
    try:
        contents = _contents(place)
    except OSError as error:
        raise MigrationError(
            f"cannot read the migrations in {place}: {error.strerror}; give a directory with"
            " 0001_<name>.sql that this user may read"
        ) from None
    found = [_read(name, contents[name], of) for name in sorted(contents)]
    _check_numbers(found, place, first)
    if own:
        _own[place] = found
    return found


def _check_numbers(found: list[MigrationFile], place: str, first: int) -> None:
    if not found:
        raise MigrationError(f"{place} holds no migration; give the directory with 0001_<name>.sql")
    for position, (file, earlier) in enumerate(zip(found, [None, *found], strict=False), first):
        if earlier and file.version == earlier.version:
            raise MigrationError(
                f"{earlier.file_name} and {file.file_name} have the same number; give the one"
                " that was not released yet the next free number"
            )
        if file.version != position:
            after = f"{earlier.file_name} is followed by" if earlier else "the first one is"
            raise MigrationError(
                f"migration {position:04} is missing: {after} {file.file_name}; restore it, or"
                " renumber those that were not released yet"
            )


def _is_script(name: str) -> bool:
    return name.lower().endswith(".sql") and name[0] != "."


def _contents(place: str) -> dict[str, bytes]:
    """What the scripts of a directory hold, by their names."""
    try:
        with os.scandir(place) as entries:
            scripts = [entry for entry in entries if _is_script(entry.name)]
    except NotADirectoryError:
        archived = _archived(place)
        if archived is None:
            raise
        return archived
    contents: dict[str, bytes] = {}
    for entry in scripts:
        with open(entry.path, "rb") as stream:
            contents[entry.name] = stream.read()
    return contents


def _archived(place: str) -> dict[str, bytes] | None:
    """As `_contents`, of a directory in a zip archive; None if it is in none."""
    import zipfile  # what few programs need

    archive = place
    while not os.path.isfile(archive):
        archive = os.path.dirname(archive)
    directory = os.path.normpath(place[len(archive) :]).lstrip(os.sep)
    try:
        with zipfile.ZipFile(archive) as opened:
            split = {name: os.path.split(name) for name in opened.namelist()}
            return {
                file: opened.read(name)
                for name, (within, file) in split.items()
                if within == directory and file and _is_script(file)
            }
    except zipfile.BadZipFile:
        return None


def _read(name: str, content: bytes, of: str) -> MigrationFile:
    number = re.fullmatch(_NAME, name)
    if not number:
        raise MigrationError(f"{name} is not named like a migration: 0001_what_it_does.sql")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise MigrationError(f"{name} is not UTF-8 text; save it as such") from None
    # With the line endings of Unix.
    return MigrationFile(
        int(number.group(1)), name.removesuffix(".sql"), text.replace("\r\n", "\n"), of
    )
