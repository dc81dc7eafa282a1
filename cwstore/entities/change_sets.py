"""Change sets: what was changed together, entry by entry, so that it can be reverted."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal, NotRequired, TypedDict, Unpack, cast

from cwstore.core import publish
from cwstore.core.checks import Json, NonEmpty, for_each
from cwstore.core.entity import dataclass
from cwstore.core.ids import make_id
from cwstore.core.repository import Mode, Repository, command, fetch_page, query, row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, lists_of, rows_of, values_of
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError

__all__ = [
    "ChangeSet",
    "ChangeSetAction",
    "ChangeSetEntityType",
    "ChangeSetEntry",
    "ChangeSetRepository",
    "ChangeSetStatus",
    "NewChangeSetEntry",
]


class ChangeSetStatus(StrEnum):
    """Whether its changes are in force."""

    APPLIED = "applied"
    REVERTED = "reverted"


class ChangeSetEntityType(StrEnum):
    """What was changed."""

    PAGE = "page"
    PHASE = "phase"
    TASK = "task"
    PHASE_DEPENDENCY = "phase_dependency"
    TASK_DEPENDENCY = "task_dependency"


ChangeSetEntityTypeLike = (
    ChangeSetEntityType | Literal["page", "phase", "task", "phase_dependency", "task_dependency"]
)


class ChangeSetAction(StrEnum):
    """How it was changed."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


ChangeSetActionLike = ChangeSetAction | Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """One row of `change_sets`, as it was when read."""

    id: NonEmpty
    initiative_id: NonEmpty
    #: None: the user, or an agent that was deleted since.
    agent_id: NonEmpty | None
    #: As it was then; None: the user.
    agent_name: NonEmpty | None
    #: None: the entries speak for themselves.
    summary: str | None
    status: ChangeSetStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ChangeSetEntry:
    """One row of `change_set_entries`; it never changes."""

    id: NonEmpty
    change_set_id: NonEmpty
    entity_type: ChangeSetEntityType
    #: It may name what was deleted since.
    entity_id: NonEmpty
    action: ChangeSetAction
    #: None for a create.
    previous_state: Json | None
    #: None for a delete.
    new_state: Json | None
    sort_order: int
    created_at: datetime


class NewChangeSetEntry(TypedDict):
    """An entry for `create`: a create has a new state, a delete a previous one, an update both."""

    entity_type: ChangeSetEntityTypeLike
    entity_id: str
    action: ChangeSetActionLike
    previous_state: NotRequired[str | None]
    new_state: NotRequired[str | None]
    #: 0 unless given. Entries of the same number keep the order in which they were given.
    sort_order: NotRequired[int]


_COLUMNS = """id, initiative_id, agent_id, agent_name, summary, status, created_at,
    updated_at"""
_ENTRY_COLUMNS = """id, change_set_id, entity_type, entity_id, action, previous_state, new_state,
    sort_order, created_at"""
_change_set = rows_of(ChangeSet)
_entry = rows_of(ChangeSetEntry)
_id = values_of(str, ChangeSet)

# Without its name, the work of an agent would pass for the user's once the agent is deleted.
_CREATE = _change_set(f"""
    INSERT INTO change_sets ({_COLUMNS})
    VALUES (
        :id, :initiative_id, :agent_id,
        coalesce(:agent_name, (SELECT name FROM agents WHERE id = :agent_id)),
        :summary, 'applied', :now, :now
    )
    RETURNING {_COLUMNS}
""")

_CREATE_ENTRY = _entry(f"""
    INSERT INTO change_set_entries ({_ENTRY_COLUMNS})
    VALUES (
        :id, :change_set_id, :entity_type, :entity_id, :action, :previous_state, :new_state,
        :sort_order, :now
    )
    RETURNING {_ENTRY_COLUMNS}
""")

_FIND_BY_ID = _change_set(f"""
    SELECT {_COLUMNS}
    FROM change_sets
    WHERE id = :id
""")
_list = lists_of(ChangeSet, _FIND_BY_ID)

_FIND_BY_INITIATIVE = _list(f"""
    SELECT {_COLUMNS}
    FROM change_sets
    WHERE initiative_id = :initiative_id
    ORDER BY created_at, id
""")

_FIND_ENTRY_BY_ID = _entry(f"""
    SELECT {_ENTRY_COLUMNS}
    FROM change_set_entries
    WHERE id = :id
""")

_FIND_ENTRIES = lists_of(ChangeSetEntry, _FIND_ENTRY_BY_ID)(f"""
    SELECT {_ENTRY_COLUMNS}
    FROM change_set_entries
    WHERE change_set_id = :change_set_id
    ORDER BY sort_order, created_at, id
""")

_MARK_REVERTED = _change_set(f"""
    UPDATE change_sets
    SET status = 'reverted', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
      AND status = 'applied'
    RETURNING {_COLUMNS}
""")


_DELETE = _id("""
    DELETE FROM change_sets
    WHERE id = :id
    RETURNING id
""")


class ChangeSetRepository(Repository[Mode]):
    """Record changes, read them, mark them as reverted."""

    @command
    def create(
        self,
        *,
        initiative_id: str,
        entries: Iterable[NewChangeSetEntry],
        agent_id: str | None = None,
        agent_name: str | None = None,
        summary: str | None = None,
        id: str | None = None,
    ) -> ChangeSet:
        """A new change set with its entries, all or nothing.

        Without `agent_name` it gets the agent's present one; with neither it is the user's. The
        entries are read to the end before anything is locked. Raises InvalidValueError for an
        entry with a missing or unknown key or with states that do not fit its action,
        MissingReferenceError if initiative or agent does not exist, ConflictError if the id is
        taken.
        """
        checked = _check_entries(entries)
        with self._db.transaction():
            change_set = self._db.insert(
                _CREATE,
                id=make_id() if id is None else id,
                initiative_id=initiative_id,
                agent_id=agent_id,
                agent_name=agent_name,
                summary=summary,
            )
            for_each(checked, lambda entry: self._create_entry(change_set.id, entry))
            return change_set

    def _create_entry(self, change_set_id: str, entry: Mapping[str, object]) -> ChangeSetEntry:
        return self._db.insert(_CREATE_ENTRY, id=make_id(), change_set_id=change_set_id, **entry)

    @query
    def find_by_id(self, id: str) -> ChangeSet | None:
        """The change set, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> ChangeSet:
        """The change set. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "change_sets", id)

    @query
    def find_by_initiative_id(self, initiative_id: str, **page: Unpack[Paging]) -> list[ChangeSet]:
        """Change sets of the initiative, oldest first."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @query
    def find_entries(self, change_set_id: str, **page: Unpack[Paging]) -> list[ChangeSetEntry]:
        """Entries of the change set by sort_order, then in the order in which they were given."""
        return fetch_page(self._db, _FIND_ENTRIES, page, change_set_id=change_set_id)

    @command
    def mark_reverted(self, id: str) -> ChangeSet:
        """Set an applied change set to reverted; undoing its changes is the caller's.

        Of any number of callers one succeeds, so nothing need be undone twice. Raises
        ConflictError if it is reverted already, NotFoundError if it does not exist.
        """
        with self._db.transaction():
            reverted = self._db.write_one(_MARK_REVERTED, id=id)
            if reverted is None:
                row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "change_sets", id)
                raise ConflictError(
                    f"change_sets: {id!r} is reverted already; leave it so",
                    reason=ConflictReason.SETTLED,
                    table="change_sets",
                    id=id,
                )
            return reverted

    @command
    def delete(self, id: str) -> bool:
        """Delete it with its entries; chat messages stay, without it. False if there was none.

        What it has changed stays changed.
        """
        return self._db.write_one(_DELETE, id=id) is not None


_REQUIRED = ("entity_type", "entity_id", "action")
_DEFAULTS: dict[object, object] = {"previous_state": None, "new_state": None, "sort_order": 0}
# As the table's CHECK has it, which could not say which of the two is wrong.
_ABSENT = {"previous_state": ChangeSetAction.CREATE, "new_state": ChangeSetAction.DELETE}


def _check_entries(entries: object) -> list[dict[str, object]]:
    """The binds of each entry. What each value is, is checked as it is bound."""
    given = type(entries).__name__
    if isinstance(entries, str | Mapping) or not isinstance(entries, Iterable):
        raise InvalidValueError("entries", f"expected several mappings, got {given}")
    return for_each(cast(Iterable[object], entries), _check_entry)


def _check_entry(entry: object) -> dict[str, object]:
    if not isinstance(entry, Mapping):
        raise InvalidValueError("entries", f"expected mappings, got one {type(entry).__name__}")
    given = _DEFAULTS | dict(cast(Mapping[object, object], entry))
    for key in _REQUIRED:
        if key not in given:
            raise InvalidValueError(key, "is missing in an entry")
    binds = {str(key): value for key, value in given.items()}
    for key in binds:
        if key not in _REQUIRED and key not in _DEFAULTS:
            raise InvalidValueError(key, "is no key of an entry")
    _check_states(binds)
    return binds


def _check_states(entry: Mapping[str, object]) -> None:
    action = entry["action"]
    if action not in list(ChangeSetAction):
        return  # refused as it is bound
    for field, without in _ABSENT.items():
        if action == without and entry[field] is not None:
            raise InvalidValueError(field, f"must be None: a {without} has none")
        if action != without and entry[field] is None:
            raise InvalidValueError(field, f"is missing: only a {without} has none")


publish(globals())
