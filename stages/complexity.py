"""Count the evaluated networks, the published ones and the paper's blocks: python -m stages.complexity."""

from nas.pipeline.names import COMPLEXITY, DATA, genotype_file
from nas.pipeline.params import Params
from nas.pipeline.stage import run


def blocks() -> list[dict]:
    """The weights of each block of the paper's equations, as built and as the equation says."""
    from nas.networks.complexity import conv_weights
    from nas.report.published import pibconv as published
    from nas.space import operations

    channels = published.PIBCONV_CHANNELS
    return [
        {
            "operation": block.operation,
            "expansion": block.expansion,
            "kernel": block.kernel,
            "channels": channels,
            "weights": conv_weights(operations.build(block.operation, channels, 1, True)),
            "equation": block.equation(channels, block.kernel, block.expansion),
        }
        for block in published.PIBCONV_BLOCKS
    ]


def main(params: Params, name: str) -> None:
    from nas.data.meta import read_meta
    from nas.networks.build import build_network
    from nas.networks.complexity import count
    from nas.pipeline.records import BlockCost, NetworkCost
    from nas.report.published import pibconv as published
    from nas.space.genotypes import load

    meta = read_meta(DATA)
    p = params.evaluate
    shape, classes = tuple(meta["shape"]), len(meta["classes"])
    ours = [(g, n, p.channels, shape, classes, p.stem) for g in p.genotypes for n in p.layers]
    papers = (published.PIBCONV_CHANNELS, published.PIBCONV_IMAGE, published.PIBCONV_CLASSES, "cifar")
    paper = [(row.genotype, row.layers, *papers) for row in published.PIBCONV_TABLE_1]
    rows = []
    for table, networks in (("evaluated", ours), ("pibconv_table_1", paper)):
        for genotype, layers, channels, image, classes, stem in networks:
            network = build_network(
                load(genotype_file(genotype)),
                channels=channels,
                layers=layers,
                num_classes=classes,
                in_channels=image[0],
                stem=stem,
            )
            which = {"table": table, "genotype": genotype, "layers": layers, "channels": channels}
            rows.append(which | {"image": "x".join(map(str, image))} | vars(count(network, image)))
    NetworkCost.write(COMPLEXITY / "table.csv", rows)
    BlockCost.write(COMPLEXITY / "blocks.csv", blocks())


if __name__ == "__main__":
    run(main)
