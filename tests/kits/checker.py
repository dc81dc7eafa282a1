"""A small service with statements of its own, without fault, into which tests plant faults."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from cwstore.core.repository import Repository
from cwstore.testing import Allowances, Report, check_statements
from tests.kits.database import open_private

SCHEMA = """
CREATE TABLE owners (
    id TEXT NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE notes (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    body TEXT,
    state TEXT NOT NULL,
    is_pinned INTEGER NOT NULL,
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT notes_title_ck CHECK (title <> ''),
    CONSTRAINT notes_body_ck CHECK (body IS NULL OR json_valid(body)),
    CONSTRAINT notes_state_ck CHECK (state IN ('open', 'done')),
    CONSTRAINT notes_is_pinned_ck CHECK (is_pinned IN (0, 1))
) STRICT;

CREATE INDEX notes_owner_ix ON notes (owner_id, created_at, id);
CREATE INDEX notes_due_ix ON notes (due_at) WHERE due_at IS NOT NULL;
"""

SOURCE = '''
"""Notes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypedDict

from cwstore.core.repository import Mode, Repository, command, patch_row
from cwstore.core.checks import Json, NonEmpty
from cwstore.core.statement import NEXT_UPDATED_AT, Patch, rows_of, values_of


class State(StrEnum):
    OPEN = "open"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Note:
    id: NonEmpty
    owner_id: NonEmpty
    title: NonEmpty
    body: Json | None
    state: State
    is_pinned: bool
    due_at: datetime | None
    created_at: datetime
    updated_at: datetime


class NotePatch(TypedDict, total=False):
    title: str
    body: str | None
    state: State | str


_COLUMNS = "id, owner_id, title, body, state, is_pinned, due_at, created_at, updated_at"
_note = rows_of(Note)
_number = values_of(int, Note)

_CREATE = _note(f"""
    INSERT INTO notes ({_COLUMNS})
    VALUES (:id, :owner_id, :title, :body, :state, :is_pinned, :due_at, :now, :now)
    RETURNING {_COLUMNS}
""")

_FIND = _note(f"""
    SELECT {_COLUMNS} FROM notes WHERE id = :id
""")

_BY_OWNER = _note(f"""
    SELECT {_COLUMNS} FROM notes WHERE owner_id = :owner_id ORDER BY created_at, id LIMIT :limit
""", limit=int)

_DUE = _note(f"""
    SELECT {_COLUMNS} FROM notes WHERE due_at < :before
""", before=datetime)

_COUNT = _number("""
    SELECT count(*) FROM notes WHERE owner_id = :owner_id
""")

_UPDATE = Patch(f"""
    UPDATE notes SET /*patch*/ updated_at = {NEXT_UPDATED_AT} WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
""", NotePatch, _FIND)

_CLOSE = _note(f"""
    UPDATE notes SET state = :state, updated_at = {NEXT_UPDATED_AT} WHERE id = :id
""")


class NoteRepository(Repository[Mode]):
    @command
    def create(self, *, id: str, owner_id: str, title: str, body: str | None) -> Note:
        return self._db.insert(
            _CREATE, id=id, owner_id=owner_id, title=title, body=body, state="open",
            is_pinned=False, due_at=None,
        )

    @command
    def find(self, id: str) -> Note | None:
        return self._db.fetch_one(_FIND, id=id)

    @command
    def by_owner(self, owner_id: str) -> list[Note]:
        return self._db.fetch_all(_BY_OWNER, owner_id=owner_id, limit=9)

    @command
    def due(self, before: datetime) -> list[Note]:
        return self._db.fetch_all(_DUE, before=before)

    @command
    def count(self, owner_id: str) -> int:
        return self._db.fetch_one(_COUNT, owner_id=owner_id) or 0

    @command
    def update(self, id: str, *, if_updated_at: datetime | None = None, **patch) -> Note:
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def close(self, id: str) -> bool:
        return self._db.execute(_CLOSE, id=id, state="done") > 0
'''


def repositories() -> dict[str, type[Repository[Any]]]:
    """Attribute and class of every repository that a store has."""
    with open_private() as store:
        public = {name: getattr(store, name) for name in dir(store) if not name.startswith("_")}
    found = {name: type(one) for name, one in public.items() if isinstance(one, Repository)}
    assert len(found) >= 14
    return found


class Service:
    """The service with some passages replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = SOURCE
        self.schema = SCHEMA

    def plant(self, old: str, new: str) -> None:
        """Replace a passage of the module or of the schema; it occurs once."""
        assert (self.source + self.schema).count(old) == 1, old
        self.source = self.source.replace(old, new)
        self.schema = self.schema.replace(old, new)

    def module(self) -> ModuleType:
        """The module, imported anew."""
        file = self.folder / "notes.py"
        file.write_text(self.source, encoding="utf-8")
        # A text of the same length within the same second would be taken for the old one.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
        spec = importlib.util.spec_from_file_location("notes", file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["notes"] = module  # where annotations that are text are looked up
        spec.loader.exec_module(module)
        return module

    def report(self, *, allow: Allowances | None = None, whole: bool = True) -> Report:
        """What the checker says."""
        return check_statements(self.module(), self.schema, allow=allow, whole=whole)

    def faults(self, old: str, new: str) -> list[str]:
        """What the checker finds with that passage replaced, without places, sorted."""
        self.plant(old, new)
        found = self.report().faults
        return sorted(f"{one.subject}: {one.problem} [{one.check}]" for one in found)
