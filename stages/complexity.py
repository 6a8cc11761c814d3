"""Count every genotype at every layer count, and the published tables: python -m stages.complexity."""

from nas.params import Params
from nas.stage import run


def main(params: Params, name: str) -> None:
    from nas import data, published
    from nas.complexity import count
    from nas.files import write_csv, write_json
    from nas.genotypes import load
    from nas.network import Network

    meta = data.read_meta("data/prepared")
    p = params.evaluate
    ours = [(g, n, p.channels, tuple(meta["shape"]), len(meta["classes"])) for g in p.genotypes for n in p.layers]
    paper = [
        (row.genotype, row.layers, published.PIBCONV_CHANNELS, published.PIBCONV_IMAGE, published.PIBCONV_CLASSES)
        for row in published.PIBCONV_TABLE_1
    ]
    rows, metrics = [], {}
    for table, networks in (("evaluated", ours), ("pibconv_table_1", paper)):
        metrics[table] = {}
        for genotype, layers, channels, image, classes in networks:
            found = load(f"results/genotypes/{genotype}.json")
            network = Network(found, channels=channels, layers=layers, num_classes=classes, in_channels=image[0])
            cost = vars(count(network, image))
            shape = "x".join(map(str, image))
            rows.append(
                {"table": table, "genotype": genotype, "layers": layers, "channels": channels, "image": shape, **cost}
            )
            metrics[table][f"{genotype}-{layers}"] = cost
    write_csv("results/complexity/table.csv", rows)
    write_json("results/complexity/metrics.json", metrics)


if __name__ == "__main__":
    run(main)
