"""A Secret shows its text to `reveal` alone."""

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict, astuple, replace
from pprint import pformat
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.pretty import pretty_repr

from cwstore import Account, InvalidValueError, Secret, SecretError
from cwstore.core.secret import hide
from cwstore.store import Store
from tests.kits.canary import CANARY, told_by

TEXT = f'"{CANARY}"'

SHOWN: dict[str, Callable[[Secret], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda secret: f"{secret} {secret!s:>30} {secret:>30}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "in a list": lambda secret: repr([secret, {"k": secret}]),
    "pformat": pformat,
    "rich": lambda secret: pretty_repr(secret, max_string=3),
    "JSON of its str": lambda secret: json.dumps(secret, default=str),
    "slots": lambda secret: [repr(getattr(secret, name, "")) for name in Secret.__slots__],
    "dir": lambda secret: [repr(getattr(secret, name)) for name in dir(secret) if name != "reveal"],
    "state": lambda secret: repr(secret.__getstate__()),
    "hash": hash,
    "bytes of a pickle": lambda secret: [
        pickle.dumps(secret, number) for number in range(pickle.HIGHEST_PROTOCOL + 1)
    ],
}


@pytest.mark.parametrize("way", SHOWN)
def test_no_way_of_showing_a_secret_shows_its_text(way: str) -> None:
    shown = SHOWN[way](Secret(TEXT))
    assert CANARY not in str(shown)
    if way not in {"slots", "dir"}:  # which name places in memory
        assert shown == SHOWN[way](Secret("x")), "not even how long it is"


def test_reveal_gives_the_text_to_the_letter() -> None:
    assert Secret(' {"x" : 1.0}\n').reveal() == ' {"x" : 1.0}\n'
    assert Secret("").reveal() == ""


def test_json_does_not_take_a_secret() -> None:
    with pytest.raises(TypeError, match="Secret is not JSON serializable") as caught:
        json.dumps({"credentials": Secret(TEXT)})
    assert CANARY not in told_by(caught.value)


def test_two_secrets_are_equal_if_their_texts_are() -> None:
    assert Secret("a\ud800") == Secret("a\ud800")
    assert Secret("a") != Secret("b")
    assert Secret("a") != Secret("ab")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_texts_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []

    def note(one: object, other: object) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr("hmac.compare_digest", note)
    assert Secret("ä") == Secret("b")
    assert compared == [("ä".encode(), b"b")]


def test_a_copy_is_the_secret_itself() -> None:
    secret = Secret(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_leaves_the_text_out_and_what_comes_back_says_so(protocol: int) -> None:
    secret = Secret(TEXT)
    back = pickle.loads(pickle.dumps(secret, protocol))
    assert type(back) is Secret
    assert (repr(back), str(back), hash(back)) == (repr(secret), str(secret), hash(secret))
    with pytest.raises(
        SecretError,
        match=(r"^a secret was left out of a pickle; read the row again where it is needed$"),
    ):
        back.reveal()
    assert back == back  # noqa: PLR0124
    assert back not in (secret, pickle.loads(pickle.dumps(secret, protocol)))
    assert secret != back


def test_a_secret_that_lost_its_text_cannot_be_stored(store: Store) -> None:
    account = store.accounts.create(email="a", credentials=TEXT)
    shipped = pickle.loads(pickle.dumps(account))
    assert replace(shipped, credentials=account.credentials) == account
    with pytest.raises(InvalidValueError, match="credentials: a secret was left out of a pickle"):
        store.accounts.update(account.id, credentials=shipped.credentials)
    assert store.accounts.find_by_id(account.id) == account


@pytest.mark.parametrize("value", [None, 5, b"bytes", ["x"], Secret("x")])
def test_only_text_can_be_made_a_secret(value: object) -> None:
    with pytest.raises(InvalidValueError, match=r"secret: expected str, got \w+$") as caught:
        Secret(value)  # type: ignore[arg-type]
    assert caught.value.field == "secret"


class Loud(str):
    """A text that says more than it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return "loud"


def test_a_subclass_of_str_becomes_plain_text() -> None:
    text = Secret(Loud("x")).reveal()
    assert (text, type(text)) == ("x", str)


def test_what_is_no_text_is_hidden_by_its_type(store: Store) -> None:
    secret = Secret("x")
    assert [hide(value) for value in (None, secret, "x")] == [None, secret, secret]
    wrong: list[tuple[str, Any]] = [
        ("credentials", {"token": CANARY}),
        ("config_json", CANARY.encode()),
    ]
    for field, value in wrong:
        given: dict[str, Any] = {field: value}
        for call in (
            lambda given=given: store.accounts.create(email="e", **given),
            lambda given=given: store.accounts.update("a", **given),
        ):
            with pytest.raises(InvalidValueError, match=f"{field}: expected .* got ") as caught:
                call()
            assert CANARY not in told_by(caught.value)


def test_a_row_with_a_secret_shows_nothing_of_it_and_is_otherwise_a_row(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    account = store.accounts.create(email="a", credentials=TEXT, config_json=TEXT)
    logging.getLogger("service").warning("%s %r %s", account, account, [account])
    assert "credentials=Secret('**********')" in caplog.text
    for shown in (caplog.text, repr(account), pformat(account), pretty_repr(account)):
        assert CANARY not in shown
    for data in (asdict(account)["credentials"], astuple(account)[4]):
        assert data is account.credentials
    assert replace(account) == copy.deepcopy(account) == account
    assert len({account, replace(account)}) == 1
    with pytest.raises(TypeError, match="Secret is not JSON serializable"):
        json.dumps(asdict(account), default=None, skipkeys=True, indent=1)


def test_a_traceback_with_variables_shows_a_row_without_its_secrets(store: Store) -> None:
    account = store.accounts.create(email="a", credentials=TEXT, config_json=TEXT)

    def fail() -> None:
        seen = [account]
        raise RuntimeError(len(seen))

    with pytest.raises(RuntimeError) as caught:
        fail()
    whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(whole.format())
    assert "seen = [Account(" in shown
    assert CANARY not in shown


def test_pydantic_takes_a_secret_as_text_and_never_gives_it_out(store: Store) -> None:
    account = store.accounts.create(email="a", credentials=TEXT)
    rows = TypeAdapter(Account)
    for shown in (rows.dump_json(account), rows.dump_python(account), repr(account)):
        assert CANARY not in str(shown)
    assert rows.dump_python(account, mode="json")["credentials"] == "**********"
    assert rows.dump_python(account)["credentials"] is account.credentials
    assert rows.json_schema(mode="serialization")["properties"]["credentials"]["anyOf"] == [
        {"type": "string"},
        {"type": "null"},
    ]
    secrets = TypeAdapter(Secret)
    assert secrets.validate_json('"x"') == Secret("x")
    assert secrets.validate_python("x") == Secret("x")
    assert secrets.validate_python(account.credentials) is account.credentials
