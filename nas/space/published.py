"""The genotypes that papers have published, by name. To add one, name its paper and figure."""

from nas.space.genotypes import Genotype

_NODES = (2, 3, 4, 5)

PUBLISHED: dict[str, Genotype] = {
    # DARTS (Liu et al., 2019), first order
    "DARTS_V1": Genotype(
        normal=(
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("skip_connect", 0),
            ("sep_conv_3x3", 1),
            ("skip_connect", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("skip_connect", 2),
        ),
        normal_concat=_NODES,
        reduce=(
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 1),
            ("skip_connect", 2),
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 0),
            ("skip_connect", 2),
            ("skip_connect", 2),
            ("avg_pool_3x3", 0),
        ),
        reduce_concat=_NODES,
    ),
    # DARTS (Liu et al., 2019), second order
    "DARTS_V2": Genotype(
        normal=(
            ("sep_conv_3x3", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1),
            ("skip_connect", 0),
            ("skip_connect", 0),
            ("dil_conv_3x3", 2),
        ),
        normal_concat=_NODES,
        reduce=(
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 1),
            ("skip_connect", 2),
            ("max_pool_3x3", 1),
            ("max_pool_3x3", 0),
            ("skip_connect", 2),
            ("skip_connect", 2),
            ("max_pool_3x3", 1),
        ),
        reduce_concat=_NODES,
    ),
    # PIBConv (Ahmadian et al., 2023), Fig. 4
    "DARTS_PseudoInvBn": Genotype(
        normal=(
            ("pib_conv_3x3", 0),
            ("pib_conv_5x5", 1),
            ("pib_conv_3x3", 0),
            ("pib_conv_3x3", 2),
            ("pib_conv_3x3", 2),
            ("pib_conv_3x3", 1),
            ("pib_conv_3x3", 1),
            ("pib_conv_3x3", 3),
        ),
        normal_concat=_NODES,
        reduce=(
            ("avg_pool_3x3", 0),
            ("pib_conv_5x5", 1),
            ("avg_pool_3x3", 0),
            ("dil_conv_5x5", 2),
            ("avg_pool_3x3", 0),
            ("skip_connect", 2),
            ("pib_conv_3x3", 3),
            ("pib_conv_3x3", 0),
        ),
        reduce_concat=_NODES,
    ),
}
