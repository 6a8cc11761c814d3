"""The one exception that stands for a user's mistake, and the help that its message gives."""

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten

# In the environment of a process that another started: the file that takes the line of its failure, to be told once.
FAILURE = "NAS_FAILURE"


class UserError(ValueError):
    """Something that the user can mend; the message is one line that says what and how."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name what is allowed, and the nearest to `name` first: ``"did you mean darts? (known: darts, pibconv)"``."""
    known = [str(k) for k in known]
    if not known:
        return "none is known"
    near = nearest(name, known)
    return f"did you mean {near}? (known: {', '.join(known)})" if near else f"known are {', '.join(known)}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The one of `known` that `name` is most like, whatever the case; None if all are less alike than `cutoff`."""
    by_folded = {str(k).lower(): str(k) for k in known}
    near = get_close_matches(str(name).lower(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def reason(error: Exception) -> str:
    """What `error` says, on one line of at most 200 characters."""
    return shorten(str(error), 200, placeholder=" …") or type(error).__name__
