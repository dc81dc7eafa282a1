"""Where secrets lie on the disk."""

from pathlib import Path

from cwstore import Secret, Store
from tests.kits.canary import CANARY


class Reversed:
    """A codec that a test can read."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


def test_with_a_codec_no_file_holds_a_secret_as_it_is(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    text = f'"{CANARY}"'
    with Store.open(file, secrets=Reversed()) as store:
        account = store.accounts.create(email="e", credentials=text, config_json=text)
        store.backup(copy)
        log = tmp_path / "log"
        log.hardlink_to(f"{file}-wal")
        assert store.accounts.get(account.id).credentials == Secret(text)
    for path in (file, copy, log):  # read when nobody has them open
        content = path.read_bytes()
        assert CANARY.encode() not in content
        assert (CANARY[::-1].encode() in content) is True
