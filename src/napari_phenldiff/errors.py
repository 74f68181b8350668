"""Exceptions that a sentence explains."""

from __future__ import annotations


class InputError(ValueError):
    """Raised when the user's input cannot be used.

    The message is one sentence that says what is wrong, where, and what to do. The command line
    prints it and exits with status 2; the widgets show it beside the button. Any other exception is
    a defect of the program.
    """


class LostProcess(RuntimeError):
    """Raised when another process was ended that shares the work of this one.

    The message is one sentence. What was saved before can be gone on with.
    """
