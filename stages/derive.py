"""Collect every genotype that later stages may name, and draw its cells: python -m stages.derive."""

from pathlib import Path

from nas.params import Params
from nas.stage import run


def main(params: Params, name: str) -> None:
    from nas.errors import UserError, reason
    from nas.figures import draw_cell
    from nas.files import read_csv, whole_folder, write_json
    from nas.genotypes import PUBLISHED, derive_from_table, drawn_from, random_genotype
    from nas.spaces import find

    found = {}
    for space in params.search.spaces:
        table = Path("results/search") / space / "alphas.csv"
        try:
            found[space] = derive_from_table(read_csv(table))
        except (OSError, ValueError) as error:
            raise UserError(f"{table}: is missing or damaged ({reason(error)}); run search@{space} again") from None
    for label in params.evaluate.genotypes:
        if space := drawn_from(label):
            found[label] = random_genotype(find(space).operations, params.search.nodes, f"{params.seed}/{label}")
    with whole_folder("results/genotypes") as folder:
        for label, genotype in (PUBLISHED | found).items():
            write_json(folder / f"{label}.json", genotype.to_dict())
            normal, reduce = (folder / f"{label}-{cell}.png" for cell in ("normal", "reduce"))
            draw_cell(genotype.normal, genotype.normal_concat, normal, title=f"{label}: normal cell")
            draw_cell(genotype.reduce, genotype.reduce_concat, reduce, title=f"{label}: reduction cell")


if __name__ == "__main__":
    run(main)
