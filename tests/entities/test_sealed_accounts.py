"""A store with a codec keeps both secrets of an account encoded in the file."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.fernet import Fernet, MultiFernet

from cwstore import (
    Account,
    CorruptDatabaseError,
    InvalidValueError,
    Secret,
    SecretError,
)
from cwstore.core.statement import rows_of, values_of
from cwstore.store import Store
from tests.kits.canary import CANARY, told_by
from tests.kits.database import contents, open_async, open_at, open_private, raw, tamper
from tests.kits.entities import refused

TEXT = f'{{"token": "{CANARY}"}}'
OLD, NEW, OTHER = Fernet.generate_key(), Fernet.generate_key(), Fernet.generate_key()


class FernetSecrets:
    """Encodes by the first key and decodes by any."""

    def __init__(self, *keys: bytes) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encode(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decode(self, text: str) -> str:
        return self._fernet.decrypt(text.encode()).decode()


def stored(file: Path) -> list[tuple[str, str | None, str | None]]:
    with raw(file) as connection:
        return connection.query("SELECT id, config_json, credentials FROM accounts ORDER BY id")


@pytest.fixture
def sealed(store: Store, file: Path) -> Iterator[Store]:
    """A store with a codec, and one account, `a`; `store` has none."""
    with open_at(file, secrets=FernetSecrets(OLD)) as opened:
        opened.accounts.create(id="a", email="e", credentials=TEXT, config_json=TEXT)
        yield opened


# Encoded in the file, plain in Python


def test_both_secrets_are_encoded_and_come_back_to_the_letter(sealed: Store, file: Path) -> None:
    account = sealed.accounts.get("a")
    assert (account.credentials, account.config_json) == (Secret(TEXT), TEXT)
    ((_, config_json, credentials),) = stored(file)
    assert config_json != credentials
    assert CANARY not in f"{config_json}{credentials}"


READS: dict[str, Callable[[Store], Any]] = {
    "find_by_id": lambda store: store.accounts.find_by_id("a"),
    "get": lambda store: store.accounts.get("a"),
    "find_all": lambda store: store.accounts.find_all()[0],
    "a page": lambda store: store.accounts.find_all(limit=1)[0],
    "the last page": lambda store: store.accounts.find_by_provider("claude", last=1)[0],
    "find_next_available": lambda store: store.accounts.find_next_available(),
}
WRITES: dict[str, Callable[[Store], Any]] = {
    "claim_next_available": lambda store: store.accounts.claim_next_available(),
    "mark_exhausted": lambda store: store.accounts.mark_exhausted("a", None),
    "clear_exhausted": lambda store: store.accounts.clear_exhausted("a"),
    "update of another column": lambda store: store.accounts.update("a", email="new"),
    "update of nothing": lambda store: store.accounts.update("a"),
    "update of the secrets": lambda store: store.accounts.update(
        "a", credentials=TEXT, config_json=TEXT
    ),
}
SETS = {
    "credentials": lambda store: store.accounts.update("a", credentials="[]"),
    "both": lambda store: store.accounts.update("a", credentials="[]", config_json="{}"),
    "none of them": lambda store: store.accounts.update("a", credentials=None, config_json=None),
}


@pytest.mark.parametrize("name", READS | WRITES)
def test_every_method_that_returns_an_account_decodes_it(sealed: Store, name: str) -> None:
    account = (READS | WRITES)[name](sealed)
    assert (account.credentials, account.config_json) == (Secret(TEXT), TEXT)


def test_a_store_with_a_codec_works_as_any_other(sealed: Store, file: Path) -> None:
    with sealed.transaction():
        initiative = sealed.initiatives.create(name="i")
        other = sealed.accounts.create(email="o")
        assert (other.credentials, other.config_json) == (None, None)
    sealed.tasks.create_many([{"name": "t", "initiative_id": initiative.id}])
    sealed.log_chunks.insert_chunks([("agent", "name", 1, "content")])
    assert sealed.accounts.update("a", credentials=None).credentials is None
    assert sealed.accounts.delete("a")
    assert sealed.initiatives.purge(initiative.id) == 2
    assert sealed.log_chunks.delete_by_agent_id("agent") == 1
    assert sealed.tasks.claim_next_ready() is None
    assert sealed.tasks.claim_next_ready() is None
    assert sealed.accounts.clear_expired_exhaustion() == 0


def test_an_awaited_store_takes_a_codec_too(sealed: Store, file: Path) -> None:
    sealed.close()

    async def scene() -> None:
        async with await open_async(file, secrets=FernetSecrets(OLD)) as store:
            assert (await store.accounts.get("a")).credentials == Secret(TEXT)
            await store.accounts.create(id="b", email="e", credentials=TEXT)
            await store.transaction(lambda tx: tx.accounts.update("b", config_json=TEXT))

    asyncio.run(scene())
    assert CANARY not in str(stored(file))
    with open_at(file, secrets=FernetSecrets(OLD)) as store:
        assert store.accounts.get("b").config_json == TEXT


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", r"not JSON: it goes wrong at line 1, column 2"),
        ("NaN", "not JSON: nested too deep, or NaN"),
        (5, "got int"),
        ('"\ud800"', "lone surrogate"),
        ("\0", r"U\+0000"),
    ],
)
@pytest.mark.parametrize("field", ["credentials", "config_json"])
def test_what_is_refused_without_a_codec_is_refused_with_one(
    sealed: Store, file: Path, field: str, value: Any, message: str
) -> None:
    given = {field: value}
    with refused(file, InvalidValueError, field, message):
        sealed.accounts.create(email="e", **given)
    with refused(file, InvalidValueError, field, message):
        sealed.accounts.update("a", **given)


def test_what_a_statement_of_any_kind_binds_is_encoded(sealed: Store, file: Path) -> None:
    change = values_of(str, Account)
    database = sealed.accounts._db
    insert = change("""
        INSERT INTO accounts (id, email, credentials, sort_order, created_at, updated_at)
        VALUES (:id, 'e', :credentials, 0, :now, :now)
    """)
    rows = [{"id": key, "credentials": TEXT} for key in ("b", "c")]
    database.insert_many(insert, rows)
    update = "UPDATE accounts SET config_json = :config_json WHERE id <> 'a' RETURNING id"
    assert database.write_all(change(update), config_json=TEXT) == ["b", "c"]
    assert CANARY not in str(stored(file))
    for account in sealed.accounts.find_all():
        assert (account.credentials, account.config_json) == (Secret(TEXT), TEXT)


class Key(NamedTuple):
    id: str
    credentials: Secret


def test_a_row_of_a_services_own_is_decoded_whichever_its_kind(sealed: Store) -> None:
    find = rows_of(Key)("SELECT id, credentials FROM accounts WHERE id = :id")
    database = sealed.accounts._db
    assert database.fetch_one(find, id="a") == Key("a", Secret(TEXT))
    assert database.fetch_all(find, id="a") == [Key("a", Secret(TEXT))]
    change = values_of(str, Key)("UPDATE accounts SET credentials = :credentials WHERE id = :id")
    with pytest.raises(
        InvalidValueError, match=r"^credentials: expected Secret or str, got NoneType$"
    ):
        database.execute(change, id="a", credentials=None)


# Another key, or none


ELSEWHERE: dict[str, tuple[FernetSecrets | None, str]] = {
    "another key": (
        FernetSecrets(OTHER),
        (
            "cannot be decoded by the codec of this store: it raised InvalidToken; open it with the"
            " key that it was written with, or delete the row if that is lost$"
        ),
    ),
    "no codec": (
        None,
        r" is encoded; open the store with the codec that it was written with \(secrets=\.\.\.\)$",
    ),
}


@pytest.mark.parametrize("codec", ELSEWHERE)
@pytest.mark.parametrize("name", READS | WRITES | SETS)
def test_who_cannot_decode_a_secret_is_told_so_and_changes_nothing(
    sealed: Store, file: Path, codec: str, name: str
) -> None:
    sealed.accounts.mark_exhausted("a", None)
    sealed.accounts.clear_exhausted("a")
    sealed.close()
    secrets, message = ELSEWHERE[codec]
    with open_at(file, secrets=secrets) as store:
        before = contents(file)
        with pytest.raises(SecretError, match=message) as caught:
            (READS | WRITES | SETS)[name](store)
        assert contents(file) == before
        assert caught.value.id == "a"
        assert caught.value.field in {"credentials", "config_json"}
        assert str(caught.value).startswith(f"Account 'a': {caught.value.field} ")
        with store.transaction():  # in one, too, and it can go on
            with pytest.raises(SecretError):
                (READS | WRITES | SETS)[name](store)
            store.accounts.create(id="b", email="e", credentials=TEXT)
        assert contents(file)["accounts"][:1] == before["accounts"]
    with open_at(file, secrets=FernetSecrets(OLD)) as store:
        assert store.accounts.get("a").credentials == Secret(TEXT)


@pytest.mark.parametrize("codec", ELSEWHERE)
def test_an_account_whose_key_is_lost_can_be_deleted(sealed: Store, file: Path, codec: str) -> None:
    sealed.close()
    with open_at(file, secrets=ELSEWHERE[codec][0]) as store:
        assert store.accounts.delete("a")
        store.accounts.create(id="a", email="e", credentials=TEXT)
        assert store.accounts.get("a").credentials == Secret(TEXT)


def test_one_secret_that_cannot_be_decoded_does_not_let_the_other_be_replaced(
    sealed: Store, file: Path
) -> None:
    sealed.accounts.update("a", config_json=None)
    with open_at(file, secrets=FernetSecrets(OTHER)) as store:
        before = contents(file)
        wanted: list[dict[str, Any]] = [{"credentials": "[]"}, {"config_json": "[]"}]
        for given in wanted:
            with pytest.raises(SecretError, match="Account 'a': credentials cannot be decoded"):
                store.accounts.update("a", **given)
        assert contents(file) == before


# What was written before


def test_what_was_written_without_a_codec_is_read_and_encoded_when_it_is_written_again(
    store: Store, file: Path
) -> None:
    plain = store.accounts.create(id="a", email="e", credentials=TEXT, config_json=TEXT)
    store.close()
    with open_at(file, secrets=FernetSecrets(OLD)) as opened:
        assert opened.accounts.get("a") == plain
        renamed = opened.accounts.update("a", email="new")
        assert stored(file) == [("a", TEXT, TEXT)]
        opened.accounts.update("a", credentials=renamed.credentials)
        ((_, config_json, credentials),) = stored(file)
        assert config_json == TEXT
        assert CANARY not in str(credentials)
        opened.accounts.update("a", config_json=renamed.config_json)
        assert CANARY not in str(stored(file))
        account = opened.accounts.get("a")
        assert (account.credentials, account.config_json) == (Secret(TEXT), TEXT)


def test_to_change_keys_every_account_is_updated_with_its_own_values(
    sealed: Store, file: Path
) -> None:
    sealed.accounts.create(id="b", email="e")
    sealed.close()
    with open_at(file, secrets=FernetSecrets(NEW, OLD)) as store:
        for account in store.accounts.find_all():
            store.accounts.update(
                account.id,
                if_updated_at=account.updated_at,
                credentials=account.credentials,
                config_json=account.config_json,
            )
    with open_at(file, secrets=FernetSecrets(NEW)) as store:
        assert [one.credentials for one in store.accounts.find_all()] == [Secret(TEXT), None]
    with open_at(file, secrets=FernetSecrets(OLD)) as store, pytest.raises(SecretError):
        store.accounts.find_all()


def test_a_text_that_looks_like_an_encoded_one_is_not_taken_for_it(
    sealed: Store, file: Path
) -> None:
    ((_, _, looks),) = stored(file)
    account = sealed.accounts.create(id="b", email="e", credentials=looks)
    assert account.credentials == Secret(str(looks))
    with open_at(file) as store, refused(file, SecretError, match="'c': credentials is encoded"):
        store.accounts.create(id="c", email="e", credentials=looks)


# Codecs


@pytest.mark.parametrize("codec", [5, "key", b"key", Fernet(OLD), object()])
def test_what_is_no_codec_is_refused_before_a_file_is_made(tmp_path: Path, codec: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"secrets: expected an object with encode\(str\)"):
        open_at(tmp_path / "new.db", secrets=codec)
    assert list(tmp_path.iterdir()) == []


class Broken:
    """Fails as it is told to, with the secret in everything that it says."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def encode(self, text: str) -> str:
        return self._act(text)

    def decode(self, text: str) -> str:
        return self._act(TEXT)

    def _act(self, secret: str) -> Any:
        if isinstance(self.outcome, Exception):
            try:
                raise RuntimeError(secret)
            except RuntimeError:
                raise self.outcome from None
        return self.outcome


OUTCOMES = [
    (ValueError(TEXT), "it raised ValueError"),
    (UnicodeDecodeError("utf-8", TEXT.encode(), 0, 1, TEXT), "it raised UnicodeDecodeError"),
    (TEXT.encode(), "it returned bytes, not str"),
    (None, "it returned NoneType, not str"),
]


@pytest.mark.parametrize(("outcome", "problem"), OUTCOMES)
def test_a_codec_that_fails_is_an_error_that_tells_nothing(
    sealed: Store, file: Path, outcome: object, problem: str
) -> None:
    with open_at(file, secrets=Broken(outcome)) as store:
        before = contents(file)
        with pytest.raises(SecretError) as reading:
            store.accounts.get("a")
        with pytest.raises(SecretError) as writing:
            store.accounts.create(email="e", credentials=TEXT)
        assert contents(file) == before
    assert problem in str(reading.value)
    assert str(writing.value) == (
        f"credentials cannot be encoded by the codec of this store: {problem}"
    )
    assert (writing.value.field, writing.value.id) == ("credentials", None)
    for caught in (reading, writing):
        assert CANARY not in told_by(caught.value)


def test_ctrl_c_in_a_codec_is_ctrl_c(sealed: Store, file: Path) -> None:
    class Stopped(FernetSecrets):
        def decode(self, text: str) -> str:
            raise KeyboardInterrupt

    with open_at(file, secrets=Stopped(OLD)) as store:
        before = contents(file)
        with pytest.raises(KeyboardInterrupt):
            store.accounts.update("a", email="new")
        assert contents(file) == before
    assert sealed.accounts.get("a").email == "e"


def test_a_store_does_not_show_its_codec(sealed: Store) -> None:
    class Shown(FernetSecrets):
        def __repr__(self) -> str:
            return CANARY

    with open_private(secrets=Shown(OLD)) as store:
        assert CANARY not in repr(store) + str(store)


# Rows that are damaged


def test_a_damaged_envelope_is_a_secret_error(sealed: Store, file: Path) -> None:
    tamper(file, """UPDATE accounts SET credentials = '{"cwstore:sealed":5}'""")
    with pytest.raises(SecretError, match="it raised AttributeError"):
        sealed.accounts.get("a")


def test_a_row_that_does_not_fit_shows_none_of_its_secrets(store: Store, file: Path) -> None:
    store.accounts.create(id="a", email="e", credentials=TEXT, config_json=TEXT)
    tamper(file, "UPDATE accounts SET updated_at = 9223372036854775807")
    for read in READS.values():
        with pytest.raises(CorruptDatabaseError, match="a row does not fit Account") as caught:
            read(store)
        assert CANARY not in told_by(caught.value)
    tamper(file, "UPDATE accounts SET updated_at = 1")
    tamper(file, """UPDATE accounts SET credentials = '{"cwstore:sealed":""}'""")
    for read in READS.values():
        with pytest.raises(SecretError) as told:
            read(store)
        assert CANARY not in told_by(told.value)


# The rest of a store goes on as without a codec


def test_a_store_with_a_codec_claims_tasks_and_prunes_logs(sealed: Store) -> None:
    task = sealed.tasks.create(name="x")
    sealed.log_chunks.insert_chunk("gone", agent_name="a", session_number=1, content="{}")
    assert sealed.tasks.claim_next_ready() == sealed.tasks.get(task.id)
    assert sealed.tasks.claim_next_ready() is None
    assert sealed.log_chunks.prune(keep_sessions=0).sessions == 1
