"""One file an entity: enums, row, patch, SQL, repository."""
