"""A genotype as text and as drawings of its two cells."""

from pathlib import Path

from nas.pipeline.errors import UserError, unknown
from nas.pipeline.names import GENOTYPES, OWN_GENOTYPES
from nas.space.genotypes import CELLS, Genotype
from nas.space.notation import own, read
from nas.space.published import PUBLISHED

INPUTS = ("c_{k-2}", "c_{k-1}")


def find(genotype: str) -> tuple[str, Genotype]:
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


def written(genotype: Genotype) -> str:
    """A line a node, of both cells: ``node 0 = sep_conv_3x3(c_{k-2}) + skip_connect(c_{k-1})``."""
    lines = []
    for cell, title in CELLS.items():
        edges, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
        states = [*INPUTS, *(f"node {i}" for i in range(len(edges) // 2))]
        lines.append(f"{title}:")
        for node in range(len(edges) // 2):
            pair = edges[2 * node : 2 * node + 2]
            lines.append(f"  node {node} = " + " + ".join(f"{name}({states[source]})" for name, source in pair))
        lines.append("  output = " + ", ".join(states[i] for i in concat))
    return "".join(f"{line}\n" for line in lines)


def draw(name: str, genotype: Genotype, folder: str | Path) -> list[Path]:
    """Draw both cells: NAME-normal.png and NAME-reduce.png in `folder`; return where they lie."""
    from nas.report.figures.cells import draw_cell

    paths = []
    for cell, title in CELLS.items():
        path = Path(folder) / f"{name}-{cell}.png"
        draw_cell(getattr(genotype, cell), getattr(genotype, f"{cell}_concat"), path, title=f"{name}: {title}")
        paths.append(path)
    return paths
