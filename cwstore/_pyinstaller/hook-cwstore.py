"""What PyInstaller cannot see: modules that are imported on use, scripts, and files of the page."""

import os
from importlib.util import find_spec
from pathlib import Path

from cwstore.migrations.scripts import default_directory

_PACKAGE = Path(os.path.dirname(os.path.dirname(__file__)))
_FILES = [file.relative_to(_PACKAGE.parent) for file in sorted(_PACKAGE.rglob("*.py"))]
_LEFT_OUT = {"testing", "_pyinstaller"}  # no program needs them

hiddenimports = [
    ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    for file in _FILES
    if file.parts[1] not in _LEFT_OUT
]
# What is asked for by a text, here and in apsw's shell; shtab is of an extra.
hiddenimports += ["apsw.fts5aux", "apsw.shell", "fcntl"]
hiddenimports += ["shtab"] if find_spec("shtab") else []
datas = [
    (os.path.dirname(default_directory()), "cwstore/sql"),
    (str(_PACKAGE / "_overview" / "page.*"), "cwstore/_overview"),
]
