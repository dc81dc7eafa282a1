"""Where PyInstaller finds the hook of this package. It asks the entry point `pyinstaller40`."""

import os


def hook_dirs() -> list[str]:
    """The directory that the hook lies in."""
    return [os.path.dirname(__file__)]
