"""Rules: agents, accounts, messages, conversations and proposals."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from cwstore.core.secret import hide
from cwstore.entities.accounts import AccountRepository
from cwstore.entities.agents import Agent, AgentRepository
from cwstore.entities.conversations import ConversationRepository
from cwstore.entities.messages import MessageRepository, PartyType, PartyTypeLike
from cwstore.entities.proposals import ProposalRepository, ProposalStatus, ProposalStatusLike
from cwstore.errors import (
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.testing.strategies import Arguments, arguments, ids, members, patches, texts, times
from tests.engine.model.answers import LAST_DAY, held_by, holder_of, next_account
from tests.engine.model.claims import Claims
from tests.engine.model.data import MICROSECOND, Errors, by_order, std
from tests.engine.model.machine import LOCK, OPTIONAL_REF, REF, REFUSED, UNKNOWN, step

PROVIDER = st.sampled_from(["claude", "claude", "", "\U0001f600"])
#: A time, or that many microseconds after what the clock shows.
MOMENT = times() | st.integers(-3, 3) | st.just(10**9)
OF_AGENT = {"task_id": OPTIONAL_REF, "initiative_id": OPTIONAL_REF, "account_id": OPTIONAL_REF}
PARTIES = members(PartyType)


class People(Claims):
    """Who works, on which account, and what they tell each other."""

    def moment(self, given: datetime | int) -> datetime:
        if isinstance(given, int):
            return self.dials[self.by].now + timedelta(microseconds=max(0, given))
        return given

    # Agents

    @step(given=arguments(AgentRepository, session_id=st.sampled_from(["s", " "]), **OF_AGENT))
    def create_agent(self, given: Arguments) -> None:
        given = self.fill("agents", given)
        self.create("agents", lambda store: store.agents.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(AgentRepository, **OF_AGENT))
    def update_agent(self, one: int, lock: int | None, patch: Arguments) -> None:
        key, patch = self.pick("agents", one), self.fill("agents", patch)
        self.update("agents", lambda store: store.agents.update, key, patch, lock)

    @step(one=REF, task=REF, status=st.sampled_from(["running", "waiting_for_input"]))
    def let_an_agent_run(self, one: int, task: int, status: str) -> None:
        patch = {"status": status, "task_id": self.pick("tasks", task), "pid": 1}
        key = self.pick("agents", one)
        self.update("agents", lambda store: store.agents.update, key, patch, 0)

    @step(
        dead=st.sets(st.integers(0, 4)),
        meanwhile=st.none() | st.tuples(REF, st.sampled_from(["pid", "status", "process_token"])),
    )
    def reconcile(self, dead: set[int], meanwhile: tuple[int, str] | None) -> None:
        """While the first is looked at, an agent gets another process or status."""
        if self.held:
            if self.by == self.holder:
                self.call(lambda store: store.agents.reconcile(_never_asked), {ConflictError})
            return
        asked: list[Agent] = []

        def is_alive(agent: Agent) -> bool:
            asked.append(agent)
            if len(asked) == 1 and meanwhile is not None:
                number, column = meanwhile
                old = to_ask[number % len(to_ask)]
                patch: Arguments = {column: _other(old, column)}
                self.update("agents", lambda store: store.agents.update, old.id, patch, None)
            return len(asked) - 1 not in dead

        to_ask = [
            row
            for row in self.model.rows("agents")
            if _has_process(row) or held_by(self.model, row.id) is not None
        ]
        crashed = self.call(lambda store: store.agents.reconcile(is_alive))
        assert asked == to_ask
        expected: list[str] = []
        for seen in [row for at, row in enumerate(to_ask) if at in dead]:
            if _process(self.model.tables["agents"][seen.id]) == _process(seen):
                expected.append(seen.id)
                self.check_crashed(seen.id)
        assert [row.id for row in crashed] == expected
        assert crashed == [self.model.tables["agents"][key] for key in expected]

    def check_crashed(self, key: str) -> None:
        """What it held is lost; what it ran without a claim is given back."""
        agent = self.stores[self.by].agents.find_by_id(key)
        self.check_updated("agents", agent, status="crashed")
        attempt = held_by(self.model, key)
        if attempt is not None:
            self.check_lost(attempt)
            self.check_pending(attempt.task_id)
        task_id = self.model.tables["agents"][key].task_id
        task = self.model.tables["tasks"].get(task_id)
        others = [row for row in self.model.rows("agents", task_id=task_id) if _has_process(row)]
        if task is None or task.status != "in_progress":
            return
        if not others and holder_of(self.model, task.id) is None:
            self.check_pending(task.id)

    # Accounts

    @step(given=arguments(AccountRepository, provider=PROVIDER))
    def create_account(self, given: Arguments) -> None:
        self.create("accounts", lambda store: store.accounts.create(**given), _as_read(given))

    @step(one=REF, lock=LOCK, patch=patches(AccountRepository, provider=PROVIDER))
    def update_account(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("accounts", one)
        patch = _as_read(patch)
        self.update("accounts", lambda store: store.accounts.update, key, patch, lock)

    @step(one=REF)
    def delete_account(self, one: int) -> None:
        key = self.pick("accounts", one)
        self.delete("accounts", lambda store: store.accounts.delete(key), key)

    @step(provider=PROVIDER)
    def find_next_available(self, provider: str) -> None:
        store, model = self.view()
        account = store.accounts.find_next_available(provider)
        now = self.dials[self.by].now
        assert (account and account.id) == next_account(model, provider, now)
        assert account is None or account == model.tables["accounts"][account.id]

    @step(provider=PROVIDER, times=st.integers(1, 4))
    def claim_next_available(self, provider: str, times: int) -> None:
        for _ in range(times):
            account = self.call(lambda store: store.accounts.claim_next_available(provider))
            if account is REFUSED:
                return
            now = self.dials[self.by].now
            assert (account and account.id) == next_account(self.model, provider, now)
            if account is None:
                return
            used = account.last_used_at
            known = [row.last_used_at for row in self.model.rows("accounts", provider=provider)]
            latest = max((one for one in known if one and one < LAST_DAY), default=None)
            if latest is not None and latest >= self.low:
                assert used > latest
            else:
                assert self.low <= used <= self.high
            assert used <= max(self.high, (latest or self.low) + MICROSECOND)
            self.check_updated("accounts", account, last_used_at=used)

    @step(one=REF, times=st.lists(st.none() | MOMENT, min_size=1, max_size=4))
    def mark_exhausted(self, one: int, times: list[datetime | int | None]) -> None:
        key = self.pick("accounts", one)
        for until in times:
            self.mark(key, until)

    def mark(self, key: str, until: datetime | int | None) -> None:
        """A rest that has not passed is never shortened."""
        rest = until if until is None else self.moment(until)
        errors: Errors = set() if key in self.view()[1].tables["accounts"] else {NotFoundError}
        account = self.call(lambda store: store.accounts.mark_exhausted(key, rest), errors)
        if account is REFUSED:
            return
        before = self.model.tables["accounts"][key].exhausted_until
        if self.model.tables["accounts"][key].is_exhausted and before is None:
            rest = None  # the longest rest there is
        elif before is not None and rest is not None and rest < before:
            rest = rest if before <= self.dials[self.by].now else before
        self.check_updated("accounts", account, is_exhausted=True, exhausted_until=rest)

    @step(one=REF)
    def clear_exhausted(self, one: int) -> None:
        key = self.pick("accounts", one)
        errors: Errors = set() if key in self.view()[1].tables["accounts"] else {NotFoundError}
        account = self.call(lambda store: store.accounts.clear_exhausted(key), errors)
        if account is not REFUSED:
            self.check_updated("accounts", account, is_exhausted=False, exhausted_until=None)

    @step()
    def clear_expired_exhaustion(self) -> None:
        count = self.call(lambda store: store.accounts.clear_expired_exhaustion())
        if count is REFUSED:
            return
        resting = [row for row in self.model.rows("accounts") if row.exhausted_until is not None]
        over = [row for row in resting if row.exhausted_until <= self.dials[self.by].now]
        for row in over:
            account: Any = self.stores[self.by].accounts.find_by_id(row.id)
            self.check_updated("accounts", account, is_exhausted=False, exhausted_until=None)
        assert count == len(over)

    # Messages

    @step(
        given=arguments(
            MessageRepository,
            sender_id=OPTIONAL_REF,
            recipient_id=OPTIONAL_REF,
            parent_message_id=OPTIONAL_REF,
        )
    )
    def create_message(self, given: Arguments) -> None:
        given = self.fill("messages", given)
        self.create("messages", lambda store: store.messages.create(**given), given)

    @step(sender=PARTIES, recipient=PARTIES, one=OPTIONAL_REF, other=OPTIONAL_REF)
    def users_have_no_id(self, sender: str, recipient: str, one: int, other: int) -> None:
        numbers = {"sender_id": one, "recipient_id": other}
        given = self.fill("messages", numbers | {"content": ""})
        given |= {"sender_type": sender, "recipient_type": recipient}
        self.create("messages", lambda store: store.messages.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(MessageRepository))
    def update_message(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("messages", one)
        self.update("messages", lambda store: store.messages.update, key, patch, lock)

    @step(one=REF)
    def delete_message(self, one: int) -> None:
        key = self.pick("messages", one)
        self.delete("messages", lambda store: store.messages.delete(key), key)

    @step(one=REF, content=texts(), party=PARTIES, agent=st.sampled_from([None, 0, 1, UNKNOWN]))
    def respond(self, one: int, content: str, party: PartyTypeLike, agent: int | None) -> None:
        key = self.pick("messages", one)
        sender = None if agent is None else self.pick("agents", agent)
        tables = self.view()[1].tables
        message = tables["messages"].get(key)
        errors: Errors = set()
        if (sender is None) != (party == "user"):
            errors.add(InvalidValueError)
        if message is None:
            errors.add(NotFoundError)
        elif message.status == "responded":
            errors.add(ConflictError)
        if sender is not None and sender not in tables["agents"]:
            errors.add(MissingReferenceError)
        reply = self.call(
            lambda store: store.messages.respond(key, content, party, sender_id=sender), errors
        )
        if reply is REFUSED or message is None:
            return
        parent = self.stores[self.by].messages.find_by_id(key)
        self.check_updated("messages", parent, status="responded")
        expected = {
            "sender_type": party,
            "sender_id": sender,
            "recipient_type": message.sender_type,
            "recipient_id": message.sender_id,
            "type": "response",
            "content": content,
            "parent_message_id": key,
        }
        self.check_made("messages", reply, expected)

    @step(several=st.lists(REF, max_size=4))
    def mark_read(self, several: list[int]) -> None:
        keys = [self.pick("messages", one) for one in several]
        count = self.call(lambda store: store.messages.mark_read(keys))
        if count is REFUSED:
            return
        pending = [row.id for row in self.model.rows("messages", status="pending")]
        changed = [key for key in pending if key in keys]
        assert count == len(changed)
        for key in changed:
            row = self.stores[self.by].messages.find_by_id(key)
            self.check_updated("messages", row, status="read")

    # Conversations

    @step(
        given=arguments(
            ConversationRepository,
            from_agent_id=REF,
            to_agent_id=REF,
            initiative_id=OPTIONAL_REF,
            phase_id=OPTIONAL_REF,
            task_id=OPTIONAL_REF,
        )
    )
    def create_conversation(self, given: Arguments) -> None:
        given = self.fill("conversations", given)
        self.create("conversations", lambda store: store.conversations.create(**given), given)

    @step(one=REF, answer=texts())
    def answer(self, one: int, answer: str) -> None:
        key = self.pick("conversations", one)
        asked = self.view()[1].tables["conversations"].get(key)
        errors: Errors = {NotFoundError} if asked is None else set()
        if asked is not None and asked.status == "answered":
            errors.add(ConflictError)
        row = self.call(lambda store: store.conversations.answer(key, answer), errors)
        if row is not REFUSED:
            self.check_updated("conversations", row, answer=answer, status="answered")

    @step(one=REF)
    def delete_conversation(self, one: int) -> None:
        key = self.pick("conversations", one)
        self.delete("conversations", lambda store: store.conversations.delete(key), key)

    # Proposals

    @step(given=arguments(ProposalRepository, agent_id=REF, initiative_id=REF, target_id=ids()))
    def create_proposal(self, given: Arguments) -> None:
        given = self.fill("proposals", given)
        self.create("proposals", lambda store: store.proposals.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(ProposalRepository, target_id=st.none() | ids()))
    def update_proposal(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("proposals", one)
        self.update("proposals", lambda store: store.proposals.update, key, patch, lock)

    @step(
        one=REF,
        status=st.none() | members(ProposalStatus),
        patch=patches(ProposalRepository, target_id=st.none() | ids()),
    )
    def update_many_proposals(
        self, one: int, status: ProposalStatusLike | None, patch: Arguments
    ) -> None:
        key = self.pick("agents", one)
        wanted = {"agent_id": key} | ({} if status is None else {"status": status})
        found = self.view()[1].rows("proposals", **wanted)
        rows = self.call(
            lambda store: store.proposals.update_many_by_agent_id(
                key, current_status=status, **patch
            )
        )
        if rows is REFUSED:
            return
        for row in sorted(rows, key=std):
            self.check_updated("proposals", row, **patch)
        expected = sorted((replace(row, **patch) for row in found), key=by_order)
        assert [row.id for row in rows] == [row.id for row in expected]

    @step(one=REF)
    def delete_proposal(self, one: int) -> None:
        key = self.pick("proposals", one)
        self.delete("proposals", lambda store: store.proposals.delete(key), key)


def _as_read(given: Arguments) -> Arguments:
    return {key: hide(given[key]) if key == "credentials" else given[key] for key in given}


def _has_process(agent: Agent) -> bool:
    return agent.status in {"running", "waiting_for_input"}


def _process(agent: Agent) -> tuple[object, ...]:
    return agent.status, agent.pid, agent.process_token


def _other(agent: Agent, column: str) -> str | int:
    """Another pid, status or token than it has."""
    if column == "status":
        return "running" if agent.status == "stopped" else "stopped"
    if column == "process_token":
        return "" if agent.process_token else "another"
    return 1 if agent.pid is None else agent.pid // 2 + 1


def _never_asked(agent: Agent) -> bool:
    raise AssertionError(f"asked about {agent.id} inside of a transaction")
