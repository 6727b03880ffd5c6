"""The exception that stands for a user's mistake."""

__all__ = ["ImagesChanged", "UserError", "lacks_memory"]

# How the CPU's and CUDA's allocators refuse memory, and cuBLAS and cuDNN theirs.
_REFUSALS = ("allocate memory", "out of memory", "not enough memory", "_alloc_failed")


class UserError(Exception):
    """Bad input: its message is one line that names the key, the bad value and the valid ones.

    The command line prints the message and exits with 2; every other exception
    is a fault of the program and keeps its traceback.
    """


class ImagesChanged(UserError):  # noqa: N818 (it says what has happened)
    """The images are not those that the sweep began with: no trial's fault, and each one's."""


def lacks_memory(error: BaseException) -> bool:
    """Whether torch, a library of a device's or Python was refused memory, by what they say."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _REFUSALS)
