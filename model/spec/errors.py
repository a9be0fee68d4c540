"""The few error types of the project; each maps to one exit code of the command line."""

from __future__ import annotations


class FeedtwinError(Exception):
    """An error whose message is meant for the user: one sentence, no traceback."""

    exit_code = 1


class InputError(FeedtwinError):
    """Bad input: the message names the file or field, the value, and what is allowed."""

    exit_code = 2


class InvalidRunError(FeedtwinError):
    """A run that says nothing about the system (generator saturated, not stationary)."""

    exit_code = 3


class MachineError(FeedtwinError):
    """This machine cannot do what was asked: a missing extra, a busy port, a server that does not start."""

    exit_code = 4
