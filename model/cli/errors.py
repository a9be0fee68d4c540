"""What an exception means to the user: an exit code and a message without a traceback."""

from __future__ import annotations

import errno

from model.cli.output import to_stderr

OWN_PACKAGES = ("model", "real_backend", "loadtests", "scenarios")
MACHINE_EXIT_CODE = 4


def exit_code_of(error: Exception) -> int | None:
    """The exit code of an expected error; None means a bug, which deserves its traceback."""
    from model.spec.errors import FeedtwinError

    if isinstance(error, FeedtwinError):
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in OWN_PACKAGES:
        return MACHINE_EXIT_CODE
    if isinstance(error, OSError) and error.filename is not None and error.errno != errno.EPIPE:
        return MACHINE_EXIT_CODE
    return None


def explain(error: Exception) -> None:
    """Print the message of an expected error on stderr."""
    if isinstance(error, ModuleNotFoundError):
        from model.machine.extras import extras_with_module, install_hint

        to_stderr(f"the Python package {error.name!r} is missing; {install_hint(extras_with_module(error.name or ''))}")
    elif isinstance(error, OSError):
        to_stderr(f"{error.filename}: {error.strerror}")
    else:
        to_stderr(str(error))
