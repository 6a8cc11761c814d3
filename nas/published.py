"""What the papers report, as data: the figures that ours stand beside."""

from typing import NamedTuple


class Row(NamedTuple):
    """One network of a published table: test accuracy in percent, parameters in millions, GMAC."""

    genotype: str
    layers: int
    accuracy: float
    params: float
    gmac: float


PIBCONV_SOURCE = (
    "Ahmadian et al., ICASSP 2023, Table 1: CIFAR-10, C = 36, 600 epochs, cutout, drop path, auxiliary tower"
)

PIBCONV_TABLE_1: tuple[Row, ...] = (
    Row("DARTS_V2", 20, 97.24, 3.30, 0.547),
    Row("DARTS_V2", 15, 96.93, 2.28, 0.408),
    Row("DARTS_V2", 10, 96.72, 1.6, 0.265),
    Row("DARTS_V2", 8, 96.32, 1.15, 0.207),
    Row("DARTS_V2", 7, 96.05, 1.05, 0.180),
    Row("DARTS_V2", 6, 95.73, 0.635, 0.153),
    Row("DARTS_V2", 5, 94.56, 0.605, 0.121),
    Row("DARTS_V2", 4, 93.74, 0.487, 0.090),
    Row("DARTS_V2", 3, 71.68, 0.116, 0.067),
    Row("DARTS_V2", 2, 54.52, 0.082, 0.035),
    Row("DARTS_PseudoInvBn", 20, 97.76, 6.06, 0.969),
    Row("DARTS_PseudoInvBn", 15, 97.40, 4.21, 0.724),
    Row("DARTS_PseudoInvBn", 10, 97.29, 3.02, 0.470),
    Row("DARTS_PseudoInvBn", 8, 97.15, 2.26, 0.369),
    Row("DARTS_PseudoInvBn", 7, 97.03, 2.07, 0.320),
    Row("DARTS_PseudoInvBn", 6, 96.86, 1.36, 0.275),
    Row("DARTS_PseudoInvBn", 5, 96.65, 1.30, 0.218),
    Row("DARTS_PseudoInvBn", 4, 96.24, 1.10, 0.166),
    Row("DARTS_PseudoInvBn", 3, 94.63, 0.443, 0.123),
    Row("DARTS_PseudoInvBn", 2, 92.15, 0.385, 0.067),
)

# The paper's networks: C of the first cells, image (channels, height, width), classes.
PIBCONV_CHANNELS, PIBCONV_IMAGE, PIBCONV_CLASSES = 36, (3, 32, 32), 10
