"""The ways to SQLite that are compared."""

#: Name in the table, and module of the adapter; for those of Node.js see node.py.
ADAPTERS = {
    "limit": "limit",
    "same-sql": "same_sql",
    "by-hand": "by_hand",
    "stdlib": "stdlib",
    "aiosql": "with_aiosql",
    "sqlspec": "with_sqlspec",
    "sqla-core": "with_core",
    "sqla-orm": "with_orm",
    "better-sqlite3": "",
    "drizzle": "",
    "cwstore": "with_cwstore",
    "cwstore-async": "with_cwstore_async",
}
#: Those that need cwstore's own schema.
OURS = ("same-sql", "cwstore", "cwstore-async")
