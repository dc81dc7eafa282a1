"""What an actor does, written once for threads and for tasks of an event loop.

An action is a generator of calls. The driver runs each call on a `Store` or an `AsyncStore` and
sends back the outcome. All actors work on the same few things at a time, so that they meet: the
clock chooses these, and others every so many milliseconds.
"""

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from cwstore.entities.agents import Agent
from cwstore.store import Store
from tools._python.soak.actor import Actor, Call, Step
from tools._python.soak.models import ACCOUNTS
from tools._python.soak.pool import FOR, GHOST_TASK, POOL_TASKS, WAITS
from tools._python.soak.work import dismiss, expire, is_hand, number_of, report_late, work

EDGE_TASKS = 4
LOG_AGENTS = 3
KEEP_SESSIONS = 3
GHOST = "ghost"  # the process token of agents that are dead from the beginning


Action = Callable[[Actor, str], Step]


def enlist(me: Actor) -> Step:
    """Make the agent that this actor is, and what all actors of a round share."""
    yield from _set_up(me, me.round, _make_round)
    yield Call(
        "enlist",
        f"agent/{me.id}",
        lambda s: s.agents.create(
            name=me.id, worktree_id=me.id, status="running", process_token=me.token, id=me.id
        ),
    )


def leave(me: Actor) -> Step:
    """Its agent stops, at times with a task that it forgot."""
    if me.rng.random() < 0.5:
        yield from report_late(me)
    yield Call("leave", f"agent/{me.id}", lambda s: s.agents.update(me.id, status="stopped"))


def act(me: Actor) -> Step:
    """One action, chosen at random, on what is in season."""
    season = me.season()
    yield from _set_up(me, season, _make_season)
    (action,) = me.rng.choices(list(_ACTIONS), weights=list(_ACTIONS.values()))
    yield from action(me, season)


# Setting up


def _set_up(me: Actor, thing: str, make: Callable[[Store, str], None]) -> Step:
    """The first caller makes all of it in one transaction."""
    if thing in me.known:
        return
    there = yield Call(
        "exists", f"setup/{thing}", lambda s: s.initiatives.find_by_id(thing), outcome=_is_there
    )
    if there is None:
        yield Call("create", f"setup/{thing}", lambda tx: make(tx, thing), whole=True)
    me.known.add(thing)


def _is_there(found: object) -> bool | None:
    return True if found is not None else None


def _make_accounts(tx: Store, provider: str) -> None:
    for number in range(ACCOUNTS):
        tx.accounts.create(
            email="x", provider=provider, sort_order=number, id=f"{provider}.{number}"
        )


def _make_round(tx: Store, name: str) -> None:
    tx.initiatives.create(name="round", id=name)
    _make_accounts(tx, name)
    for number in range(LOG_AGENTS):
        agent = f"{name}.log{number}"
        tx.agents.create(name=agent, worktree_id=agent, id=agent)


def _make_season(tx: Store, name: str) -> None:
    tx.initiatives.create(name="season", id=name)
    _make_accounts(tx, name)
    for number in range(POOL_TASKS):
        tx.tasks.create(name="x", initiative_id=name, sort_order=number, id=f"{name}.{number}")
    tx.tasks.create_dependency(f"{name}.{WAITS}", f"{name}.{FOR}")
    ghost = f"{name}.ghost"
    tx.agents.create(
        name=ghost,
        worktree_id=ghost,
        status="running",
        process_token=GHOST,
        id=ghost,
    )
    tx.tasks.claim(f"{name}.{GHOST_TASK}", agent_id=ghost)
    for number in range(EDGE_TASKS):
        tx.tasks.create(name="x", initiative_id=name, status="blocked", id=f"{name}.e{number}")


# Tasks; `work` has what is done with them


def _look(_me: Actor, pool: str) -> Step:
    yield Call(
        "ready",
        f"pool/{pool}",
        lambda s: s.tasks.find_ready(initiative_id=pool),
        outcome=lambda tasks: [number_of(task.id) for task in tasks],
    )


def reconcile(me: Actor, pool: str) -> Step:
    """Find the agents of killed processes. Each of them is a call of its own in the record."""
    dead = {GHOST, *me.graveyard.read_text().split()}
    begun: dict[str, list[int]] = {}

    def is_alive(agent: Agent) -> bool:
        if agent.process_token not in dead:
            return True
        model = "ghost" if agent.process_token == GHOST else "agent"
        begun[agent.id] = []
        if not is_hand(agent.id):
            begun[agent.id].append(me.journal.begin("crash", f"{model}/{agent.id}", ()))
        if agent.task_id is not None:
            key = f"pool/{agent.task_id.rpartition('.')[0]}"
            task = number_of(agent.task_id)
            begun[agent.id].append(me.journal.begin("crash", key, (task, agent.id)))
        return False

    crashed = yield Call(
        "reconcile", f"reconcile/{pool}", lambda s: s.agents.reconcile(is_alive), outcome=len
    )
    found = {agent.id for agent in crashed or ()}
    for agent_id, numbers in begun.items():
        for number in numbers:
            me.journal.end(number, "crashed" if agent_id in found else "left")


# Answers


def _converse(me: Actor, season: str) -> Step:
    asked, key = f"{season}.q", f"conversation/{season}.q"
    kind = me.rng.choice(("ask", "answer", "answer", "read"))
    text = f"by {me.id} {monotonic_ns()}"
    if kind == "ask":
        yield Call(
            kind,
            key,
            lambda s: s.conversations.create(
                from_agent_id=f"{season}.ghost", to_agent_id=me.id, question="?", id=asked
            ),
        )
    elif kind == "answer":
        yield Call(kind, key, lambda s: s.conversations.answer(asked, text), (text,))
    else:
        yield Call(
            kind,
            key,
            lambda s: s.conversations.find_by_id(asked),
            outcome=lambda found: found and (found.answer or ""),
        )


def _correspond(me: Actor, season: str) -> Step:
    asked, key = f"{season}.m", f"message/{season}.m"
    kind = me.rng.choice(("ask", "answer", "answer", "replies"))
    text = f"by {me.id} {monotonic_ns()}"
    if kind == "ask":
        yield Call(
            kind,
            key,
            lambda s: s.messages.create(
                sender_type="user",
                recipient_type="agent",
                recipient_id=f"{season}.ghost",
                content="?",
                requires_response=True,
                id=asked,
            ),
        )
    elif kind == "answer":
        yield Call(
            kind, key, lambda s: s.messages.respond(asked, text, "agent", sender_id=me.id), (text,)
        )
    else:
        yield Call(
            kind,
            key,
            lambda s: s.messages.find_replies(asked),
            outcome=lambda replies: "|".join(reply.content for reply in replies),
        )


# What there is once


def _root_page(_me: Actor, season: str) -> Step:
    yield Call(
        "get",
        f"root/{season}",
        lambda s: s.pages.get_or_create_root_page(season),
        outcome=lambda page: page.id,
    )


def _chat(me: Actor, season: str) -> Step:
    target, key = f"{season}.{POOL_TASKS - 1}", f"chat/{season}"
    mine = f"{me.id} {monotonic_ns()}"
    if me.rng.random() < 0.3:
        yield Call(
            "read",
            key,
            lambda s: s.chat_sessions.find_active_session("task", target),
            outcome=lambda found: found and found.id,
        )
        return
    opened = yield Call(
        "open",
        key,
        lambda s: s.chat_sessions.create_session("task", target, initiative_id=season, id=mine),
        (mine,),
    )
    if opened is not None and me.rng.random() < 0.7:
        yield Call(
            "close", key, lambda s: s.chat_sessions.update_session(mine, status="closed"), (mine,)
        )


def _edge(me: Actor, season: str) -> Step:
    start, end = me.rng.sample(range(EDGE_TASKS), 2)
    key = f"edges/{season}"
    if me.rng.random() < 0.2:
        yield Call(
            "below",
            key,
            lambda s: s.tasks.get_dependencies(f"{season}.e{start}"),
            (start,),
            outcome=lambda ids: sorted(int(one[-1]) for one in ids),
        )
        return
    yield Call(
        "depend",
        key,
        lambda s: s.tasks.create_dependency(f"{season}.e{start}", f"{season}.e{end}"),
        (start, end),
    )


# Accounts


def _take_account(me: Actor, season: str) -> Step:
    """Of the round's provider, whose accounts are never exhausted, or of the season's."""
    provider = me.round if me.rng.random() < 0.5 else season
    key = f"accounts/{provider}"
    taken = yield Call(
        "take",
        key,
        lambda s: s.accounts.claim_next_available(provider),
        outcome=lambda taken: taken and number_of(taken.id),
        extra=lambda taken: taken and taken.last_used_at.isoformat(timespec="microseconds"),
    )
    if provider == season and taken is not None and me.rng.random() < 0.3:
        number = (number_of(taken.id),)
        yield Call("exhaust", key, lambda s: s.accounts.mark_exhausted(taken.id, None), number)
        if me.rng.random() < 0.7:
            yield Call("restore", key, lambda s: s.accounts.clear_exhausted(taken.id), number)


# Logs


def _write_log(me: Actor, _season: str) -> Step:
    agent = f"{me.round}.log{me.rng.randrange(LOG_AGENTS)}"
    chunks, begins = me.rng.randint(1, 4), me.rng.random() < 0.1

    def write(tx: Store) -> tuple[int, list[int]]:
        newest = tx.log_chunks.get_session_count(agent)
        session = newest + 1 if begins or newest == 0 else newest
        return session, [
            tx.log_chunks.insert_chunk(
                agent, agent_name="x", session_number=session, content=f"{me.id} {number}"
            ).seq
            for number in range(chunks)
        ]

    yield Call("write", f"log/{agent}", write, outcome=lambda written: written, whole=True)


def _follow(me: Actor, _season: str) -> Step:
    """Read on where this actor was, some pages at most."""
    agent = f"{me.round}.log{me.rng.randrange(LOG_AGENTS)}"
    after = me.cursors.get(agent, 0)
    whole = me.rng.random() < 0.5

    def read(s: Any) -> Any:
        if whole:
            return s.log_chunks.iter_by_agent_id(agent, after=after, page=15)
        return s.log_chunks.find_by_agent_id(agent, after=after, limit=40)

    chunks = yield Call(
        "follow",
        f"log/{agent}",
        read,
        (me.id, after),
        outcome=lambda chunks: [[chunk.seq, chunk.session_number] for chunk in chunks],
    )
    if chunks:
        me.cursors[agent] = chunks[-1].seq


def prune(me: Actor, _season: str) -> Step:
    """Let go of all but the newest sessions."""
    yield Call(
        "prune",
        f"prune/{me.round}",
        lambda s: s.log_chunks.prune(keep_sessions=KEEP_SESSIONS),
        outcome=lambda report: [report.sessions, report.chunks],
    )


_ACTIONS: dict[Action, float] = {
    work: 8,
    dismiss: 1,
    expire: 0.5,
    _look: 2,
    reconcile: 1,
    _converse: 4,
    _correspond: 4,
    _root_page: 1,
    _chat: 3,
    _edge: 3,
    _take_account: 5,
    _write_log: 4,
    _follow: 4,
    prune: 0.4,
}
