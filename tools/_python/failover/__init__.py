"""Three PostgreSQL nodes under Patroni, whose leader is killed under load."""
