"""The one exception that is meant for the user's eyes."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that says what is wrong, where, and what to do. The command line
    prints it and exits with code 2; the widgets show it beside the button. Anything else that is
    raised is a defect of the program.
    """
