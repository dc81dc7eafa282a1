"""Lists that are read page by page: no row may be lost or come twice between two pages."""

from collections.abc import Iterator
from typing import Any

from cwstore.core.checks import hints_of, rule_of
from cwstore.core.faults import table_of
from cwstore.core.statement import Listing, bind_names
from cwstore.testing.checker.schema import Schema


def unknown_fields(listing: Listing[Any]) -> list[str]:
    """Columns of its order that are no fields of the row type: no page can begin at them."""
    return [field for field in listing.fields if field not in hints_of(listing.entity)]


def check_order(listing: Listing[Any], schema: Schema) -> Iterator[tuple[str, str]]:
    """The order is total: no column may be NULL, and the last one tells any two rows apart."""
    hints = hints_of(listing.entity)
    for field in listing.fields:
        if rule_of(hints[field]).optional:
            yield "order", f"{field} may be NULL, and no page begins after NULL"
    last = listing.columns[-1]
    # A list may read a view, or name its table otherwise; a row of it is found in the table.
    table = table_of((listing.find or listing).text)
    key = (listing.fields[-1],)
    indexes = [index for index in schema.indexes if index.table == table and not index.condition]
    if not any(index.is_constraint and index.columns == key for index in indexes):
        yield "order", f"{last} is not unique: of rows that are equal some would be left out"
    if listing.find is not None and bind_names(listing.find.text) != ["id"]:
        yield "order", "the statement that finds a row of it takes :id and nothing else"
