# SPDX-License-Identifier: Apache-2.0
"""The Python environment of the apps: our instrumentation and everything else that reports calls.

It is the dependency group `emitters`, apart from the environment of the tests: there the zero-code
start would switch all of it on, and pytest would load its plugins. `make` installs it.
"""

import os
from pathlib import Path
from typing import Final

__all__ = ["EmittersUnavailable", "program"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAMS: Final = _ROOT / ".venv-emitters" / "bin"


class EmittersUnavailable(Exception):
    """There is no such environment; the message says how to get it."""


def program(name: str = "python") -> Path:
    """A program of the environment: its interpreter, or what a package has installed.

    Raises:
        EmittersUnavailable: it is not installed.
    """
    path = _PROGRAMS / name
    if not os.access(path, os.X_OK):
        raise EmittersUnavailable(f"{path} does not exist: run `make .venv-emitters`")
    return path
