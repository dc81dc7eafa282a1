"""Statements as values: the text, the row type it returns, and the rules of its binds.

Bind rules come from the entity: in an INSERT or an assignment of a patch a nullable column takes
None, everywhere else (a key, a filter) None is refused. Binds that are no field of the entity are
named with their type where the statement is made. Three are the engine's: `:now`, one stamp a
statement, `:rising_id`, an id that begins with it, and `:clock`, what the clock shows. Stamps can
be ahead of the clock: what has passed is compared with `:clock`. A read makes no stamp, and `:now`
is the same there.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, LiteralString, TypedDict, TypeVar

from cwstore.core.checks import Binder, ValueRule, compile_binder, hints_of, rule_of
from cwstore.core.ids import make_rising_id
from cwstore.core.mapping import (
    Row,
    compile_mapper,
    compile_row_mapper,
    first_column,
    first_value,
)
from cwstore.errors import InvalidValueError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:
    from typing import Protocol

    from cwstore.core.clock import Clock
    from cwstore.core.sealing import SecretCodec

    class StatementFactory(Protocol[T_co]):
        """Makes statements; only text that is written in the source is accepted."""

        def __call__(self, text: LiteralString, **extra: Any) -> "Statement[T_co]":
            """Make one; `extra` are the types of binds that are no fields of the row type."""
            ...

    class ListingFactory(Protocol[T]):
        """Makes lists; only text that is written in the source is accepted."""

        def __call__(self, text: LiteralString, **extra: Any) -> "Listing[T]":
            """Make one; `extra` are the types of binds that are no fields of the row type."""
            ...


#: The assignment of every `updated_at`: it rises on each write, whatever the clock does.
NEXT_UPDATED_AT: LiteralString = "CASE WHEN :now > updated_at THEN :now ELSE updated_at + 1 END"

#: Binds that the engine gives, while it holds the write lock.
ENGINE_BINDS = frozenset({"clock", "now", "rising_id"})

# A bind outside of quoted text and comments; 'checkpoint:human-verify' holds none.
_BIND = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*[\s\S]*?\*/|:([a-z_]+)""")


def bind_names(text: str) -> list[str]:
    """The named binds of a statement, each once, in order of appearance."""
    return list(dict.fromkeys(name for name in _BIND.findall(text) if name))


def bare(text: str) -> str:
    """A statement without comments, and without what is quoted in it."""
    return _BIND.sub(lambda found: found[0] if found[1] else " ", text)


def is_insert(text: str) -> bool:
    """Whether a statement inserts, wherever in its text that is said."""
    if "INSERT" not in text.upper():  # as most: a pattern takes 0.1 ms to compile
        return False
    return re.search(r"\bINSERT\b", _BIND.sub(" ", text), re.IGNORECASE) is not None


class Statement(Generic[T_co]):
    """A checked SQL text; `bind`, `map` and `map_row` are compiled when they are first called.

    `stamp`, `clock` and `rising_id` are the places of the engine's binds in what `bind` has
    returned, None where there is none; `timed` says that there is one of the first two. `reads`
    says, once `bind` was called, that it surely writes nothing. `seals`
    says that it is an UPDATE of a Patch which writes over a secret; `holds_secrets`, once `bind`
    was called, that its rows hold some, which perhaps cannot be decoded.
    """

    __slots__ = (
        "bind",
        "clock",
        "codec",
        "entity",
        "extra",
        "holds_secrets",
        "map",
        "map_row",
        "reads",
        "rising_id",
        "scalar",
        "seals",
        "stamp",
        "text",
        "timed",
    )

    def __init__(
        self,
        text: str,
        entity: type[Any],
        scalar: type[Any] | None,
        extra: Mapping[str, Any],
        codec: "SecretCodec | None" = None,
    ) -> None:
        self.text = text.strip()
        self.entity = entity
        self.scalar = scalar
        self.extra = extra
        self.codec = codec  # decodes the secrets of its rows
        self.timed = False
        self.reads = False
        self.stamp: int | None = None
        self.clock: int | None = None
        self.rising_id: int | None = None
        self.seals = False
        self.holds_secrets = False
        self.bind: Binder = self._first_bind
        self.map: Callable[[list[Row]], list[T_co]] = self._first_map
        self.map_row: Callable[[Row], T_co] = self._first_map_row

    def rules(self) -> dict[str, ValueRule]:
        """The rule of each bind that the caller gives."""
        takes_none = is_insert(self.text)
        hints = hints_of(self.entity)
        rules: dict[str, ValueRule] = {}
        for name in bind_names(self.text):
            if name in self.extra:
                rules[name] = rule_of(self.extra[name])
            elif name not in ENGINE_BINDS:
                rule = rule_of(hints[name])
                rules[name] = rule if takes_none else rule._replace(optional=False)
        return rules

    def is_json(self, name: str) -> bool:
        """Whether a bind of that name takes JSON."""
        rule = self.rules().get(name)
        return rule is not None and rule.is_json

    def named(self, values: list[Any]) -> dict[str, Any]:
        """What `bind` has returned, by name: for errors."""
        return dict(zip(bind_names(self.text), values, strict=True))

    def tell_time(self, values: list[Any], time: int) -> None:
        """For a read: `:now` and `:clock` are what the clock shows."""
        if self.stamp is not None:
            values[self.stamp] = time
        if self.clock is not None:
            values[self.clock] = time

    def give_stamp(self, values: list[Any], clock: "Clock") -> None:
        """For a write, if `timed`: `:now` is the next stamp, and `:rising_id` begins with it."""
        stamp = clock()
        if self.stamp is not None:
            values[self.stamp] = stamp
        if self.clock is not None:
            values[self.clock] = clock.shown
        if self.rising_id is not None:
            values[self.rising_id] = make_rising_id(stamp)

    def _first_bind(self, binds: Mapping[str, Any]) -> list[Any]:
        names = bind_names(self.text)
        if "now" in names:
            self.stamp = names.index("now")
        if "clock" in names:
            self.clock = names.index("clock")
        self.timed = self.stamp is not None or self.clock is not None
        self.reads = self.text.startswith("SELECT")
        if "rising_id" in names:
            self.rising_id = names.index("rising_id")
        hints = hints_of(self.entity).values()
        self.holds_secrets = not self.scalar and any(rule_of(hint).is_sealed for hint in hints)
        self.bind = compile_binder(names, self.rules())
        return self.bind(binds)

    def _first_map(self, rows: list[Row]) -> list[T_co]:
        if self.scalar:
            self.map = first_column
        else:
            written = "RETURNING" in self.text
            self.map = compile_mapper(self.entity, written=written, codec=self.codec)
        given = [rows]
        del rows  # a traceback may show the variables of this frame
        return self.map(given.pop())

    def _first_map_row(self, row: Row) -> T_co:
        if self.scalar:
            self.map_row = first_value
        else:
            self.map_row = compile_row_mapper(self.entity, self.codec)
        given = [row]
        del row
        return self.map_row(given.pop())


def rows_of(entity: type[T], /) -> "StatementFactory[T]":
    """Make statements whose columns are the fields of `entity`, in order."""

    def make(text: LiteralString, **extra: Any) -> Statement[T]:
        return Statement(text, entity, None, extra)

    return make


def values_of(scalar: type[T], entity: type[Any], /) -> "StatementFactory[T]":
    """Make statements that return one column, or that only change rows of `entity`."""

    def make(text: LiteralString, **extra: Any) -> Statement[T]:
        return Statement(text, entity, scalar, extra)

    return make


class Paging(TypedDict, total=False):
    """Which part of a list to read: `limit` and `after`, or `last` and `before`; none: all of it.

    `limit` rows, from the first or from the one that follows the row with the id `after`. Or the
    `last` rows, of all or of those that come before the row with the id `before`. They come in the
    order of the list, whichever way it is read.
    """

    limit: int | None
    after: str | None
    last: int | None
    before: str | None


PageKind = Literal["first", "after", "last", "before", "after in rank", "before in rank"]


# The field that a term of ORDER BY is made of; keywords are upper case.
_FIELD = r"\b(?:[a-z_]\w*\.)?([a-z_]\w*)"


class Listing(Statement[T]):
    """A SELECT that lists rows in an order, and the statements that read a part of that list.

    The text ends in ORDER BY and columns that are fields of the row type, never NULL and all in one
    direction; the last one is unique. The first may be an expression of one field instead, such as
    a CASE that gives each value of an enum its place. Conditions are joined by AND. A page begins
    after, or ends before, a row that `find` finds by `:id`. It need not be a row of this list: one
    that has left it meanwhile (it got another status, say) is still a place to go on from. Without
    `find` the list is ordered by one column, and a page begins after a value of that, be there a
    row or not.
    """

    __slots__ = ("_pages", "columns", "descends", "fields", "find", "ranked")

    def __init__(
        self, text: str, entity: type[Any], find: Statement[T] | None, extra: Mapping[str, Any]
    ) -> None:
        super().__init__(text, entity, None, extra)
        self.find = find
        terms = [term.strip() for term in self.text.rpartition("ORDER BY")[2].split(",")]
        self.columns = tuple(term.removesuffix(" DESC") for term in terms)
        self.descends = terms[0].endswith(" DESC")
        if any(term.endswith(" DESC") != self.descends for term in terms):
            raise ValueError(f"all columns of a list go in one direction: {', '.join(terms)}")
        if find is None and len(terms) > 1:
            raise ValueError(f"a list by several columns needs `find`: {', '.join(terms)}")
        #: Whether it is ordered by an expression first, and then by columns.
        self.ranked = " " in self.columns[0]
        #: The fields that it is ordered by.
        self.fields = tuple(re.findall(_FIELD, column)[0] for column in self.columns)
        self._pages: dict[PageKind, Statement[T]] = {}

    def page(self, kind: PageKind) -> Statement[T]:
        """The first `:limit` rows, those after a row, the last ones, or those before a row.

        Those "in rank" have the same rank as that row. The last ones, and those before, are read
        from the end: they come in the opposite order. The row is bound by the fields of the order,
        each under the name `from_<field>`; without `find` the value is bound as `:after` or
        `:before`.
        """
        made = self._pages.get(kind)
        if made is None:
            made = self._pages[kind] = self._make(kind)
        return made

    def _make(self, kind: PageKind) -> Statement[T]:
        side, _, in_rank = kind.partition(" ")
        descends = self.descends != (side in ("last", "before"))
        body = self.text.rpartition("ORDER BY")[0]
        order = ", ".join(f"{column} DESC" if descends else column for column in self.columns)
        extra = {"limit": int, **self.extra}
        if side in ("first", "last"):
            text = f"{body}ORDER BY {order}\n    LIMIT :limit"
            return Statement(text, self.entity, None, extra)
        hints = hints_of(self.entity)
        names = [f"from_{field}" for field in self.fields] if self.find else [side]
        extra |= {name: hints[field] for name, field in zip(names, self.fields, strict=True)}
        places = [
            re.sub(_FIELD, f":{name}", column, count=1)
            for name, column in zip(names, self.columns, strict=True)
        ]
        body += f"  {'AND' if 'WHERE' in body else 'WHERE'} "
        beyond = "<" if descends else ">"
        if in_rank:
            text = self._in_rank(body, order, places, beyond)
        elif self.ranked:
            text = self._beyond_rank(body, order, places, beyond)
        else:
            keys = ", ".join(self.columns)
            text = (
                f"{body}({keys}) {beyond} ({', '.join(places)})\n"
                f"    ORDER BY {order}\n    LIMIT :limit"
            )
        return Statement(text, self.entity, None, extra)

    def _in_rank(self, body: str, order: str, places: list[str], beyond: str) -> str:
        """The rows beyond a place that are of the same rank."""
        rank, *columns = self.columns
        return (
            f"{body}{rank} = {places[0]}\n"
            f"      AND ({', '.join(columns)}) {beyond} ({', '.join(places[1:])})\n"
            f"    ORDER BY {order.partition(', ')[2]}\n    LIMIT :limit"
        )

    def _beyond_rank(self, body: str, order: str, places: list[str], beyond: str) -> str:
        """The rows beyond a place, where the first column is an expression.

        SQLite compares a list of columns along an index only if each is a plain column. So the rows
        of the same rank are read first, and only if they do not fill the page those of the ranks
        beyond. What is sorted at the end is the page alone.
        """
        rank = self.columns[0]
        # In the page no column has a table.
        order_of_page = ", ".join(
            re.sub(_FIELD, r"\1", term, count=1) for term in order.split(", ")
        )
        fields = ", ".join(hints_of(self.entity))
        return f"""WITH same_rank AS (
        {self._in_rank(body, order, places, beyond)}
    ), other_ranks AS (
        {body}{rank} {beyond} {places[0]}
        ORDER BY {order}
        LIMIT :limit - (SELECT count(*) FROM same_rank)
    )
    SELECT {fields}
    FROM (
        SELECT {fields} FROM same_rank
        UNION ALL
        SELECT {fields} FROM other_ranks
    ) AS page
    ORDER BY {order_of_page}"""


def lists_of(entity: type[T], find: Statement[T] | None = None, /) -> "ListingFactory[T]":
    """Make lists whose columns are the fields of `entity`; `find` finds one of its rows by id."""

    def make(text: LiteralString, **extra: Any) -> Listing[T]:
        return Listing(text, entity, find, extra)

    return make


class Patch(Generic[T]):
    """An UPDATE whose assignments are chosen by the caller from a finite set of columns.

    The text has two markers: `/*patch*/` after SET, which becomes `column = :column, ` for each
    key, and `/*unchanged*/` in the WHERE clause, for the optimistic lock.
    """

    __slots__ = ("_made", "columns", "entity", "extra", "find", "keys", "text")

    def __init__(
        self, text: LiteralString, keys: type[Any], find: Statement[T], **extra: Any
    ) -> None:
        self.text: str = text
        self.keys = keys
        self.columns: tuple[str, ...] = tuple(keys.__annotations__)
        self.find = find
        self.entity = find.entity
        self.extra = extra
        # By the keys that are given; the plain ones, and those that are checked.
        self._made: tuple[dict[frozenset[str], Statement[T]], ...] = ({}, {})

    def statement(self, keys: Mapping[str, object], checked: bool) -> Statement[T]:
        """The statement for these keys; `checked` adds the comparison with :if_updated_at."""
        chosen = frozenset(keys)
        made = self._made[checked].get(chosen)
        if made is None:
            for key in keys:
                if key not in self.columns:
                    raise InvalidValueError(
                        key, f"cannot be updated; what can: {', '.join(self.columns)}"
                    )
            columns = tuple(column for column in self.columns if column in keys)
            made = self._made[checked][chosen] = self._make(columns, checked)
        return made

    def _make(self, columns: tuple[str, ...], checked: bool) -> Statement[T]:
        assignments = "".join(f"{column} = :{column}, " for column in columns)
        condition = "AND updated_at = :if_updated_at" if checked else ""
        text = self.text.replace("/*patch*/", assignments).replace("/*unchanged*/", condition)
        hints = hints_of(self.entity)
        extra = {column: hints[column] for column in columns}
        extra |= {"if_updated_at": hints["updated_at"], **self.extra}
        made: Statement[T] = Statement(text, self.entity, None, extra)
        made.seals = any(rule_of(hints[column]).is_sealed for column in columns)
        return made
