"""The limit with cwstore's own statements: what of a ratio is SQL, and what is Python."""

from tools._python.bench import limit
from tools._python.bench import own_statements as own
from tools._python.bench.common import BEGIN, now


class Adapter(limit.Adapter):
    """Named binds, and whatever the statements return. The limit's: `plan`, and claims of tasks."""

    def _one(self, text: str, binds: dict[str, object]) -> object:
        run = self.run
        run(BEGIN)
        rows = run(text, binds).fetchall()
        run("COMMIT")
        return rows[0]

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        return self._one(own.CREATE.text, own.new_task(name, phase_id, initiative_id, text))

    def find(self, id: str) -> object:
        rows = self.run(own.FIND.text, {"id": id}).fetchall()
        return rows[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return self.run(own.PHASE.text, {"phase_id": phase_id}).fetchall()

    def set_status(self, id: str, status: str) -> object:
        return self._one(own.SET.text, {"id": id, "status": status, "now": now()})

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self._one(own.APPEND.text, own.new_chunk(agent_id, name, session, content))

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        run = self.run
        run(BEGIN)
        for chunk in chunks:
            run(own.APPEND_MANY.text, own.new_chunk(*chunk))
        run("COMMIT")
        return None

    def poll(self, agent_id: str) -> object:
        return self.run(own.POLL.text, {"agent_id": agent_id}).fetchall()

    def claim(self, provider: str) -> object:
        return self._one(own.CLAIM.text, {"provider": provider, "now": now(), "clock": now()})

    def all_tasks(self) -> object:
        return self.run(own.ALL.text).fetchall()

    def ready(self, initiative_id: str) -> object:
        binds = {"initiative_id": initiative_id, "type": "auto", "limit": 2**63 - 1}
        return self.run(own.READY.text, binds).fetchall()
