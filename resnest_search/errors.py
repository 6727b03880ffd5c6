"""The exception that stands for a user's mistake."""

__all__ = ["ImagesChanged", "UserError"]


class UserError(Exception):
    """Bad input: its message is one line that names the key, the bad value and the valid ones.

    The command line prints the message and exits with 2; every other exception
    is a fault of the program and keeps its traceback.
    """


class ImagesChanged(UserError):  # noqa: N818 (it says what has happened)
    """The images are not those that the sweep began with: no trial's fault, and each one's."""
