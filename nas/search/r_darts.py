"""R-DARTS, early stopping: Zela, Elsken, Saikia, Marrakchi, Brox & Hutter, "Understanding and Robustifying
Differentiable Architecture Search", ICLR 2020.

Where the dominant eigenvalue of ∇²α L_val grows fast, what is derived from α soon loses accuracy: the search ends, and
goes back to where it was before the growth.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from nas.analysis.landscape import dominant_eigenvalue
from nas.search.algorithm import Algorithm, Step


class RDarts(Algorithm):
    """DARTS with early stopping by the eigenvalue; it can be added to others.

    Parameters
    ----------
    window : int, default 5
        k: the eigenvalue is averaged over so many epochs, and compared with the average k epochs before.
    least_ratio : float, default 0.75
        The search ends once λ̄(i − k) / λ̄(i) is less; the result is α after epoch i − k.
    watch_from : int, default 10
        The first epoch whose eigenvalue counts (its program's).
    """

    added = 4
    repeats = True

    window: int = 5
    least_ratio: float = 0.75
    watch_from: int = 10

    def measure(self, step: Step) -> dict[str, float]:
        """The dominant eigenvalue, on the epoch's last batch of α's half."""
        fixed = {name: weight.detach() for name, weight in step.weights.items()}
        eigenvalue = dominant_eigenvalue(lambda: step.float32_loss(fixed, step.alpha_batch), step.alphas)
        return super().measure(step) | {"eigenvalue": eigenvalue}

    def stop(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        values, k = [row["eigenvalue"] for row in history[self.watch_from - 1 :]], self.window
        if len(values) >= 2 * k and mean(values[-2 * k : -k]) < self.least_ratio * mean(values[-k:]):
            return len(history) - k
        return super().stop(history)
