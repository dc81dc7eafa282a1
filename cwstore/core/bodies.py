"""Let pydantic check patches: on Python 3.11 it does not take a TypedDict of `typing`.

Pydantic calls it, so pydantic is there.
"""

from typing import Any, get_type_hints


def typed_dict_schema(kind: type[Any], _source: object, handler: Any) -> Any:
    """What pydantic asks `__get_pydantic_core_schema__` for."""
    from pydantic_core import core_schema

    fields = {
        name: core_schema.typed_dict_field(
            handler.generate_schema(hint), required=name in kind.__required_keys__
        )
        for name, hint in get_type_hints(kind).items()
    }
    return core_schema.typed_dict_schema(fields, cls=kind)
