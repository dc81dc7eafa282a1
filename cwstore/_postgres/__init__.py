"""The psycopg engine: the only place that imports psycopg."""
