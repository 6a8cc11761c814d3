"""A genotype as text and as drawings of its cells."""

from pathlib import Path

from nas.pipeline.errors import UserError, unknown
from nas.pipeline.names import GENOTYPES, OWN_GENOTYPES
from nas.space.genotypes import CELLS, AnyGenotype
from nas.space.notation import own, read
from nas.space.published import PUBLISHED

INPUTS = ("c_{k-2}", "c_{k-1}")


def find(genotype: str) -> tuple[str, AnyGenotype]:
    """The name of a genotype and what it is: a published or found one of that name, one's own, or that in a file.

    Raises
    ------
    UserError
        If there is none, or the file says none.
    """
    files = own(OWN_GENOTYPES) | {path.stem: path for path in sorted(GENOTYPES.glob("*.json"))}
    if genotype in PUBLISHED:
        return genotype, PUBLISHED[genotype]
    if genotype in files:
        return genotype, read(files[genotype])
    path = Path(genotype)
    if path.is_file():
        return path.stem, read(path)
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"{genotype}: there is no such file")
    raise UserError(unknown("genotype", genotype, dict.fromkeys([*PUBLISHED, *files])))


def written(genotype: AnyGenotype) -> str:
    """A line a node, of each kind of cell: ``node 0 = sep_conv_3x3(c_{k-2}) + skip_connect(c_{k-1})``."""
    lines, inputs = [], INPUTS[-genotype.inputs :]
    for cell, placed in genotype.placed().items():
        targets = list(dict.fromkeys(target for (_, target), _ in placed))
        states = [*inputs, *(f"node {i}" for i in range(len(targets)))]
        lines.append(f"{CELLS[cell]}:")
        for state in targets:
            into = [f"{name}({states[source]})" for (source, target), name in placed if target == state]
            lines.append(f"  {states[state]} = " + " + ".join(into))
        lines.append("  output = " + ", ".join(states[i] for i in genotype.output(cell)))
    return "".join(f"{line}\n" for line in lines)


def draw(name: str, genotype: AnyGenotype, folder: str | Path) -> list[Path]:
    """Draw its cells: NAME-normal.png and, if it has one, NAME-reduce.png in `folder`; return where they lie."""
    from nas.report.figures.cells import draw_genotype

    return draw_genotype(genotype, name, Path(folder))
