"""SQLAlchemy Core on psycopg: see `bench.with_core`."""

from tools._python.bench import alchemy, with_core

# In cwstore's tables on PostgreSQL a flag is a number.
alchemy.tasks.c.requires_approval.type = alchemy.sa.BigInteger()


class Adapter(with_core.Adapter):
    """The claim of an account is left out: it asks NOT of a flag."""

    claim = None  # type: ignore[assignment]

    def open(self, file: str) -> None:
        engine = alchemy.sa.create_engine(file.replace("postgresql", "postgresql+psycopg", 1))
        self.reading = self.writing = engine
