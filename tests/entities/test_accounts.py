"""Accounts: every method, order and refusal, whose turn it is, and that secrets stay secret."""

import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cwstore.core.secret import Secret
from cwstore.entities.accounts import Account
from cwstore.errors import ConflictError, InvalidValueError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import (
    MICROSECOND,
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    at,
    moment,
    refused,
)


def make(store: Store, *ids: str, **given: Any) -> list[Account]:
    """Accounts, in this order of creation."""
    return [store.accounts.create(email=f"{key}@example.org", id=key, **given) for key in ids]


def claims(store: Store, number: int) -> str:
    """The ids of the next accounts, claimed one after the other; `-` for none."""
    claimed = [store.accounts.claim_next_available() for _ in range(number)]
    return "".join("-" if account is None else account.id for account in claimed)


def test_a_new_account_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.accounts.create(email="a@example.org")
        assert made == Account(
            id=made.id,
            email="a@example.org",
            provider="claude",
            config_json=None,
            credentials=None,
            is_exhausted=False,
            exhausted_until=None,
            last_used_at=None,
            sort_order=0,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.accounts.find_by_id(made.id) == made


def test_everything_given_is_kept_json_to_the_letter(store: Store) -> None:
    (plain,) = make(store, "plain")
    given: dict[str, Any] = {
        "id": "a",
        "email": "plain@example.org",
        "provider": "codex",
        "config_json": ' {"x" : 1.0}',
        "credentials": '{ "token": "t" }',
        "sort_order": -3,
    }
    made = store.accounts.create(**given)
    given["credentials"] = Secret(given["credentials"])
    assert made == replace(plain, **given, created_at=made.created_at, updated_at=made.created_at)
    assert store.accounts.find_by_id("a") == made
    assert store.accounts.find_by_id("nobody") is None


def test_a_taken_id_is_refused(store: Store, file: Path) -> None:
    make(store, "a")
    with refused(file, ConflictError, match=r"accounts\.id"):
        make(store, "a")


def test_lists_come_by_sort_order_then_oldest_first_and_ties_by_id(
    store: Store, file: Path
) -> None:
    for key, second, order in (("c", 2, 0), ("b", 1, 0), ("a", 2, 0), ("d", 1, 1), ("e", 3, -1)):
        at(file, moment(second), lambda one, key=key, order=order: make(one, key, sort_order=order))
    make(store, "x", provider="codex", sort_order=5)
    accounts = store.accounts.find_all()
    assert [account.id for account in accounts] == ["e", "b", "a", "c", "d", "x"]
    assert store.accounts.find_by_provider("claude") == accounts[:5]
    assert store.accounts.find_by_provider("codex") == accounts[5:]
    assert store.accounts.find_by_provider("nobody") == []
    assert claims(store, 7) == "ebacdeb"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("email", "new"),
        ("provider", "new"),
        ("config_json", "[1]"),
        ("config_json", None),
        ("credentials", Secret("[2]")),
        ("credentials", None),
        ("sort_order", 9),
        ("last_used_at", moment(9)),
        ("last_used_at", None),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(store: Store, key: str, value: Any) -> None:
    make(store, "other")
    make(store, "a", config_json="{}", credentials="{}")
    store.accounts.mark_exhausted("a", moment(3))
    before = store.accounts.update("a", last_used_at=moment(1))
    patch: dict[str, Any] = {key: value}
    after = store.accounts.update("a", **patch)
    assert_updated(before, after, **patch)
    assert store.accounts.find_by_id("a") == after
    assert_updated(after, store.accounts.update("a"))


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    (first,) = make(store, "a")
    second = store.accounts.update("a", email="y", if_updated_at=first.updated_at)
    assert_updated(first, second, email="y")
    with refused(file, ConflictError):
        store.accounts.update("a", email="z", if_updated_at=first.updated_at)
    with refused(file, NotFoundError):
        store.accounts.update("nobody", email="z")


BAD: list[tuple[str, object]] = [
    ("email", None),
    ("email", 5),
    ("provider", None),
    ("config_json", "{"),
    ("config_json", {}),
    ("credentials", ""),
    ("credentials", {}),
    ("sort_order", 1.0),
    ("sort_order", -(2**63) - 1),
    ("sort_order", None),
]


@pytest.mark.parametrize(("field", "value"), [*BAD, ("id", "")])
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"email": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.accounts.create(**given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *BAD,
        ("last_used_at", moment(0).replace(tzinfo=None)),
        ("is_exhausted", True),
        ("exhausted_until", moment(0)),
        ("created_at", moment(0)),
    ],
)
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    make(store, "a")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.accounts.update("a", **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    make(store, "a")
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", store.accounts.find_by_id, (bad,)),
        ("id", store.accounts.update, (bad,)),
        ("id", store.accounts.delete, (bad,)),
        ("id", store.accounts.mark_exhausted, (bad, None)),
        ("until", store.accounts.mark_exhausted, ("a", moment(0).replace(tzinfo=None))),
        ("until", store.accounts.mark_exhausted, ("a", 1_700_000_000)),
        ("provider", store.accounts.find_by_provider, (bad,)),
        ("provider", store.accounts.find_next_available, (bad,)),
        ("provider", store.accounts.claim_next_available, (bad,)),
    )


def test_delete_keeps_the_agents(store: Store) -> None:
    make(store, "a")
    agent = store.agents.create(name="x", worktree_id="w", account_id="a")
    assert store.accounts.delete("a") is True
    assert store.accounts.delete("a") is False
    assert store.accounts.find_all() == []
    assert store.agents.find_all() == [replace(agent, account_id=None)]


# Turns


def test_looking_for_the_next_account_changes_nothing(store: Store, file: Path) -> None:
    made = make(store, "a", "b")
    before = contents(file)
    assert store.accounts.find_next_available() == made[0]
    assert store.accounts.find_next_available() == made[0]
    assert contents(file) == before


def test_a_claim_sets_the_time_of_use_and_takes_what_was_found(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "a", "b", "c")
        store.accounts.update("b", sort_order=-1)
        for second in range(1, 7):
            clock.now = moment(second)
            found = store.accounts.find_next_available()
            claimed = store.accounts.claim_next_available()
            assert found is not None
            assert claimed is not None
            assert_updated(found, claimed, last_used_at=moment(second))
            assert store.accounts.find_by_id(claimed.id) == claimed
            assert claimed.id == "bac"[(second - 1) % 3]


def test_never_used_ones_go_first_then_the_least_recently_used(store: Store) -> None:
    make(store, "a", "b", "c")
    store.accounts.update("a", last_used_at=moment(2))
    store.accounts.update("b", last_used_at=moment(1))
    assert claims(store, 4) == "cbac"
    store.accounts.update("a", last_used_at=None)
    assert claims(store, 2) == "ab"


def test_accounts_of_other_providers_have_turns_of_their_own(store: Store) -> None:
    make(store, "x", "y", provider="codex")
    make(store, "a", "b")
    assert claims(store, 3) == "aba"
    taken = store.accounts.claim_next_available("codex")
    assert taken is not None
    assert taken.id == "x"
    assert store.accounts.find_next_available(provider="codex") == store.accounts.find_by_id("y")
    assert store.accounts.claim_next_available("nobody") is None
    assert store.accounts.find_next_available("nobody") is None


def test_an_exhausted_account_rests_until_its_time_has_come(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        (made,) = make(store, "a")
        clock.now = moment(1)
        marked = store.accounts.mark_exhausted("a", until=moment(10))
        assert_updated(made, marked, is_exhausted=True, exhausted_until=moment(10))
        clock.now = moment(10) - MICROSECOND
        assert store.accounts.find_next_available() is None
        assert claims(store, 1) == "-"
        clock.now = moment(10)
        assert store.accounts.find_next_available() == marked
        clock.now = moment(11)
        assert claims(store, 1) == "a"
        assert store.accounts.find_by_id("a") == replace(
            marked, last_used_at=moment(11), updated_at=moment(11)
        )


def test_a_rest_lasts_its_time_though_a_clock_was_hours_ahead_once(open_store: OpenStore) -> None:
    hour = 3600
    with open_store(clock=SetClock(moment(5 * hour))) as ahead:
        account = ahead.accounts.create(email="a")
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        accounts = store.accounts
        accounts.mark_exhausted(account.id, moment(3 * hour))
        clock.now = moment(2 * hour)
        assert accounts.find_next_available() is accounts.claim_next_available() is None
        assert accounts.clear_expired_exhaustion() == 0
        shorter = accounts.mark_exhausted(account.id, moment(3 * hour - 1))
        assert shorter.exhausted_until == moment(3 * hour)
        clock.now = moment(3 * hour)
        found = accounts.find_next_available()
        assert found is not None
        assert accounts.clear_expired_exhaustion() == 1


def test_an_account_exhausted_without_a_time_rests_until_it_is_cleared(store: Store) -> None:
    made, _ = make(store, "a", "b")
    marked = store.accounts.mark_exhausted("a", None)
    assert_updated(made, marked, is_exhausted=True, exhausted_until=None)
    assert store.accounts.clear_expired_exhaustion() == 0
    assert claims(store, 2) == "bb"
    store.accounts.mark_exhausted("b", None)
    assert claims(store, 1) == "-"
    again = store.accounts.mark_exhausted("a", moment(0))
    assert_updated(marked, again)
    assert claims(store, 1) == "-"
    cleared = store.accounts.clear_exhausted("a")
    assert_updated(again, cleared, is_exhausted=False)
    assert store.accounts.find_by_id("a") == cleared
    assert claims(store, 2) == "aa"


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (10, 20, 20),
        (20, 10, 20),
        (20, None, None),
        (None, 20, None),
        (20, 3, 20),  # the second one has passed already
        (4, 10, 10),  # the first one has passed
        (5, 3, 3),  # it passes at this moment: there is no rest to shorten
        (3, None, None),
    ],
)
def test_of_two_rests_the_longer_holds_whichever_is_told_last(
    first: int | None, second: int | None, kept: int | None, open_store: OpenStore
) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "a")
        before = store.accounts.mark_exhausted("a", None if first is None else moment(first))
        clock.now = moment(5)
        after = store.accounts.mark_exhausted("a", None if second is None else moment(second))
        assert_updated(before, after, exhausted_until=None if kept is None else moment(kept))
        assert store.accounts.find_by_id("a") == after


def test_an_account_that_is_cleared_is_available_at_once_whatever_its_rest_was(
    store: Store, file: Path
) -> None:
    (made,) = make(store, "a")
    assert_updated(made, store.accounts.clear_exhausted("a"))
    store.accounts.mark_exhausted("a", datetime.now(UTC) + timedelta(days=3))
    assert claims(store, 1) == "-"
    assert store.accounts.clear_exhausted("a").exhausted_until is None
    assert claims(store, 1) == "a"
    with refused(file, NotFoundError):
        store.accounts.clear_exhausted("nobody")
    with refused(file, InvalidValueError, "id"):
        store.accounts.clear_exhausted("")


def test_marking_what_does_not_exist_is_refused(store: Store, file: Path) -> None:
    with refused(file, NotFoundError):
        store.accounts.mark_exhausted("nobody", None)


def test_clearing_meets_those_whose_time_has_come_alone(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "fresh", "forever", "past", "now", "future")
        store.accounts.mark_exhausted("forever", None)
        store.accounts.mark_exhausted("past", moment(1))
        store.accounts.mark_exhausted("now", moment(5))
        store.accounts.mark_exhausted("future", moment(6))
        before = store.accounts.find_all()
        clock.now = moment(5)
        assert store.accounts.clear_expired_exhaustion() == 2
        for was, now in zip(before, store.accounts.find_all(), strict=True):
            if was.id in {"past", "now"}:
                assert_updated(was, now, is_exhausted=False, exhausted_until=None)
            else:
                assert now == was
        assert store.accounts.clear_expired_exhaustion() == 0


def test_turns_are_strict_though_clocks_disagree(open_store: OpenStore) -> None:
    with (
        open_store(clock=SetClock(moment(1000))) as ahead,
        open_store(clock=SetClock(moment(0))) as behind,
    ):
        make(ahead, "a", "b", "c")
        used: list[Account] = []
        for number in range(12):
            claimed = (ahead, behind, behind)[number % 3].accounts.claim_next_available()
            assert claimed is not None
            used.append(claimed)
        assert "".join(account.id for account in used) == "abcabcabcabc"
        times = [account.last_used_at for account in used if account.last_used_at is not None]
        assert len(times) == 12
        assert all(later > earlier for earlier, later in pairwise(times))
        assert times[1] == times[0] + MICROSECOND


@pytest.mark.parametrize("before_the_end", [timedelta(0), timedelta(hours=23)])
def test_an_account_put_behind_the_others_for_good_does_not_push_them(
    store: Store, before_the_end: timedelta
) -> None:
    make(store, "a", "b", "c")
    end = datetime.max.replace(tzinfo=UTC) - before_the_end
    last = store.accounts.update("a", last_used_at=end)
    assert claims(store, 5) == "bcbcb"
    soon = datetime.now(UTC) + timedelta(days=1)
    _, *others = store.accounts.find_all()
    assert all(other.last_used_at is not None and other.last_used_at < soon for other in others)
    assert store.accounts.find_by_id("a") == last
    store.accounts.mark_exhausted("b", None)
    store.accounts.mark_exhausted("c", None)
    assert claims(store, 2) == "aa"


def test_several_threads_with_stores_of_their_own_take_turns(
    store: Store, open_store: OpenStore
) -> None:
    make(store, "a", "b", "c")
    used: list[Account] = []

    def work() -> None:
        with open_store() as own:
            for _ in range(30):
                claimed = own.accounts.claim_next_available()
                assert claimed is not None
                used.append(claimed)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    in_order = sorted((str(account.last_used_at), account.id) for account in used)
    assert "".join(key for _, key in in_order) == "abc" * 40


def test_providers_take_turns_apart(store: Store, file: Path) -> None:
    make(store, "a")
    make(store, "x", provider="codex")
    ahead = moment(10**9)
    store.accounts.update("x", last_used_at=ahead)
    claimed = store.accounts.claim_next_available()
    assert claimed is not None
    assert claimed.last_used_at is not None
    assert claimed.last_used_at < ahead  # what another provider's clock said is none of its concern


# Secrets


def test_credentials_are_a_secret_and_settings_are_in_no_repr(store: Store) -> None:
    account = store.accounts.create(
        email="a", credentials='"hush-hush"', config_json='["hush-hush"]'
    )
    assert account.credentials == Secret('"hush-hush"')
    assert account.credentials is not None
    assert account.credentials.reveal() == '"hush-hush"'
    assert account.config_json == '["hush-hush"]'
    assert "hush-hush" not in repr(account)
    assert "config_json" not in repr(account)
    assert (
        replace(
            store.accounts.update(account.id, credentials=account.credentials),
            updated_at=account.updated_at,
        )
        == account
    )


@pytest.mark.parametrize(
    "secret", ['{"token": hush-hush', ["hush-hush"], "hush-hush\0", '"hush-hush\ud800"']
)
def test_credentials_are_in_no_error(store: Store, file: Path, secret: Any) -> None:
    make(store, "a")
    for call in (
        lambda: store.accounts.create(email="a", credentials=secret),
        lambda: store.accounts.update("a", credentials=secret),
    ):
        before = contents(file)
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert caught.value.field == "credentials"
        told = "".join(traceback.format_exception(caught.value))
        assert "hush-hush" not in told + repr(caught.value) + repr(caught.value.args)
        assert contents(file) == before


def test_a_limit_that_ends_does_not_bring_back_what_was_set_aside_by_hand(
    open_store: OpenStore,
) -> None:
    """A late answer about a rate limit comes after somebody has taken the account out."""
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        account = store.accounts.create(email="a")
        store.accounts.mark_exhausted(account.id, None)
        kept = store.accounts.mark_exhausted(account.id, moment(60))
        assert (kept.is_exhausted, kept.exhausted_until) == (True, None)
        clock.now = moment(3600)
        assert store.accounts.clear_expired_exhaustion() == 0
        assert store.accounts.claim_next_available() is None
        assert store.accounts.clear_exhausted(account.id).is_exhausted is False
        assert store.accounts.claim_next_available() is not None
