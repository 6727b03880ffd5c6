"""The one exception that stands for a user's mistake."""

__all__ = ["UserError"]


class UserError(Exception):
    """Bad input: its message is one line that names the key, the bad value and the valid ones.

    The command line prints the message and exits with 2; every other exception
    is a fault of the program and keeps its traceback.
    """
