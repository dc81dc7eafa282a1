"""What a migration needs of PostgreSQL."""
