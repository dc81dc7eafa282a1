"""Make ids: 21 URL-safe characters."""

from binascii import b2a_base64
from os import urandom

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# The same characters in the order of their bytes, so that the text sorts as the number does.
_IN_ORDER = bytes.maketrans(
    _BASE64, b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
)

_LAST_STAMP = 2**56 - 1


def make_id() -> str:
    """A nanoid: 126 random bits."""
    # What `secrets` draws from, and a third of the time of its token_urlsafe.
    return b2a_base64(urandom(16), newline=False).translate(_URL_SAFE)[:21].decode()


def make_rising_id(stamp: int) -> str:
    """56 bits of the stamp (microseconds) and 70 random ones: later ids sort after earlier ones.

    For tables that grow without end. A random id goes to a random page of its index, which at
    1,000,000 log chunks made an append cost 1.5 to 2 times what it costs without the index; this
    one goes to the last page, 1.15 times (`tools/growth --ids 1000000`).
    Before 1970, and after the year 4253, they are random in the order of their making.
    """
    if not 0 <= stamp <= _LAST_STAMP:
        stamp = 0 if stamp < 0 else _LAST_STAMP
    drawn = stamp.to_bytes(7) + urandom(9)
    return b2a_base64(drawn, newline=False).translate(_IN_ORDER)[:21].decode()
