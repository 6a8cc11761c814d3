"""DARTS+: Liang, Zhang, Sun, He, Huang, Zhuang & Li, "DARTS+: Improved Differentiable Architecture Search with Early
Stopping", 2019.

The search ends when skip connections take over: its criterion 1, two of them in the normal cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.search.algorithm import Algorithm


class DartsPlus(Algorithm):
    """DARTS+, criterion 1; it can be added to others.

    Parameters
    ----------
    stop_skips : int, default 2
        The search ends after an epoch with so many skip connections, or more, in the normal cell of its genotype.
    stop_from : int, default 1
        But not before so many epochs: the first α is random, and what warms up lets it rest.
    """

    added = 4
    repeats = True

    stop_skips: int = 2
    stop_from: int = 1

    def stop(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        if len(history) >= self.stop_from and history[-1]["skips_normal"] >= self.stop_skips:
            return len(history)
        return super().stop(history)
