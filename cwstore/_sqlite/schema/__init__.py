"""What a migration needs of SQLite."""
