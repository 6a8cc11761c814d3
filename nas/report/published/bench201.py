"""What search algorithms reach in NAS-Bench-201's space, as their papers report it."""

from typing import NamedTuple


class Found(NamedTuple):
    """What an algorithm found: test accuracy in percent, mean and standard deviation over searches, and the paper."""

    algorithm: str
    accuracy: float
    deviation: float
    source: str


RECIPE = (
    "NAS-Bench-201 (Dong & Yang, ICLR 2020), CIFAR-10: C = 16, 5 cells a stack, 200 epochs, batch 256, SGD with "
    "Nesterov momentum, learning rate 0.1 by a cosine, weight decay 5e-4, flip and crop; test accuracy, mean over its "
    "seeds"
)
EPOCHS = 200  # of that recipe
BEST = 94.37  # of the space
DONG, CHEN, CHU = "Dong & Yang, ICLR 2020, Table 5", "as Chen et al., ICLR 2021, report it", "Chu et al., ICLR 2021"
FOUND = (
    Found("darts", 54.30, 0.00, DONG),
    Found("darts_second", 54.30, 0.00, DONG),
    Found("snas", 92.77, 0.83, CHEN),
    Found("pc_darts", 93.41, 0.30, CHEN),
    Found("gdas", 93.61, 0.09, CHEN),
    Found("darts_minus", 93.80, 0.40, CHU),
    Found("drnas", 94.36, 0.00, CHEN),
)
