"""The one exception that stands for a user's mistake, and the help that its message gives."""

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten

# In the environment of a process that another started: the file that takes the line of its failure, to be told once.
FAILURE = "NAS_FAILURE"


class UserError(ValueError):
    """Something that the user can mend; the message is one line that says what and how."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """What to say of a name that is not among `known`, the nearest of which is suggested.

    ``unknown("space", "dart", SPACES)`` gives ``"unknown space 'dart'; did you mean darts? (known: darts, pibconv)"``.
    """
    known = [str(k) for k in known]
    near = nearest(str(name), known)
    suggestion = f"; did you mean {near}?" if near else ""
    return f"unknown {kind} {str(name)!r}{suggestion} (known: {', '.join(known) or 'none'})"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The one of `known` that `name` is most like, whatever the case; None if all are less alike than `cutoff`."""
    by_folded = {str(k).lower(): str(k) for k in known}
    near = get_close_matches(str(name).lower(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def reason(error: Exception) -> str:
    """What `error` says, on one line of at most 200 characters."""
    return shorten(str(error), 200, placeholder=" …") or type(error).__name__
