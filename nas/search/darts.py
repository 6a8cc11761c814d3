"""DARTS of first order: Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

All operations of an edge are mixed by softmax(α) (eq. 2), and α follows the gradient of the validation loss with the
weights as they are (section 2.3, ξ = 0). That is what `Algorithm` does; its methods are DARTS's equations.
"""

from nas.search.algorithm import Algorithm


class Darts(Algorithm):
    """DARTS, first order."""

    repeats = True
