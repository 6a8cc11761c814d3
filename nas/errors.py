"""The one exception that stands for a user's mistake, and the help that its message gives."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something that the user can mend; the message is one line that says what and how."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name what is allowed, and the nearest to `name` first: ``"did you mean darts? (known: darts, pibconv)"``."""
    known = [str(k) for k in known]
    by_folded = {k.lower(): k for k in known}
    near = get_close_matches(str(name).lower(), by_folded, n=1, cutoff=0.5)
    question = f"did you mean {by_folded[near[0]]}? " if near else ""
    return f"{question}(known: {', '.join(known) or 'none'})"
