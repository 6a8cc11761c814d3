"""The console command `nas`, of which `python -m nas` is another name: everything that users type.

A mistake ends in one line on standard error and exit status 1.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from nas.pipeline.errors import UserError
from nas.pipeline.version import VERSION

# Which of pyproject.toml's brings what, where less than `pipeline` is enough
EXTRAS = {"pytorch_grad_cam": "explain", "torchvision": "explain"}

app = App(
    name="nas",
    version=VERSION,
    help="Differentiable architecture search, from data to report. `dvc repro` runs the pipeline.",
    help_format="plaintext",
)


@app.command
def check() -> None:
    """Check params.yaml and print it; put right a dvc.lock that was cut short, and keep results that came with git."""
    from ruamel.yaml import YAML

    from nas.pipeline.check import check_against_data
    from nas.pipeline.lock import mend, remember
    from nas.pipeline.params import PATH, load

    params = load()
    if mended := mend():
        print(mended, file=sys.stderr)
    if not Path(params.data.root).is_dir():  # DVC, whose dependency it is, would end without a word of why
        raise UserError(f"{PATH}: data.root: {params.data.root} is no folder: create it, or name the one you mean")
    check_against_data(params)
    remember()
    YAML().dump(params.model_dump(), sys.stdout)


@app.command
def preset(name: str, /) -> None:
    """Write params.yaml anew: a study's parameters.

    Parameters
    ----------
    name
        Of a file in presets/, without .yaml.
    """
    from nas.pipeline.params import PATH
    from nas.pipeline.params import preset as write

    write(name)
    print(f"{PATH} now holds the preset {name}; `dvc repro` runs what it changes")


@app.command
def new(folder: Path, /, preset: str = "default") -> None:
    """Begin a project of your own: its pipeline and parameters, a git and a DVC repository.

    Parameters
    ----------
    folder
        That does not exist yet, or is empty.
    preset
        Whose parameters it begins with.
    """
    from nas.pipeline.new import create

    create(folder, preset)
    print(f"{folder} is a project of your own: cd {folder} && dvc repro")


@app.command
def parallel(
    *targets: str,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    address: str | None = None,
) -> int:
    """Run the pipeline as `dvc repro` does, as many stages at once as there is room for.

    Parameters
    ----------
    targets
        Stages, each with all that it depends on; none stands for all.
    jobs
        Stages at once (default: a core each, or all that the cluster has).
    address
        HOST:PORT of a Ray cluster whose nodes share this checkout (default: this machine).
    """
    from nas.cluster.parallel import reproduce

    return reproduce(targets, jobs, address)


@app.command
def report(study: str | None = None, /, *, since: str = "main") -> int:
    """Write report.html: the report, with its git revision and what changed since another.

    Parameters
    ----------
    study
        Of a folder in studies/ of a checkout: write that kept study's report anew instead, in its folder.
    since
        A branch, tag or commit of git.
    """
    if study is None:
        from nas.report.revision import write_with_revision

        print(f"{write_with_revision(since)}: the report of this revision, beside {since}")
        return 0
    if not Path("studies/report.py").is_file():
        raise UserError("studies/report.py: is not here; kept studies lie in a checkout of the project")
    return subprocess.run([sys.executable, "-m", "studies.report", study], check=False).returncode


@app.command
def predict(
    model: str,
    image: str,
    /,
    *images: str,
    top: Annotated[int, Parameter(validator=Number(gte=1))] = 3,
    csv: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    explain: Path | None = None,
    ink: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Classify images by a trained network; its own file says its classes, and how images are brought to it.

    Parameters
    ----------
    model
        A file of models/evaluate or models/slim, or its name there: DARTS_V2-3-0.
    image
        A file, or a folder, of which every image is taken.
    images
        More of them.
    top
        How many classes are told of each image, the likeliest first.
    csv
        Print CSV: image,rank,class,probability.
    json
        Print JSON.
    explain
        A folder to write each image to, beside it where the network looks.
    ink
        They show dark strokes on paper, and the network learned light ones on black, as the digits are.
    """
    if csv and json:
        raise UserError("--csv, --json: name one of the two")
    from nas.deploy import images as reading
    from nas.deploy import predictions
    from nas.deploy.models import load

    network = load(model)
    paths, passed_over = reading.files([image, *images])
    found = predictions.of_files(network, paths, top=top, ink=ink, heat=explain)
    shown = predictions.as_csv if csv else predictions.as_json if json else predictions.as_table
    print(shown(found), end="")
    if passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in passed_over.most_common(5))
        print(f"{len(paths)} images read, {passed_over.total()} other files passed over: {kinds}", file=sys.stderr)
    if explain is not None:
        print(f"{explain}: where the network looks, of each image", file=sys.stderr)


@app.command
def export(model: str, /, output: Path = Path("exported"), *, calibrate: tuple[str, ...] = ()) -> None:
    """Write a trained network for other programs: network.onnx and network.pt2, which take images as they are.

    Parameters
    ----------
    model
        A file of models/evaluate or models/slim, or its name there: DARTS_V2-3-0.
    output
        The folder to write.
    calibrate
        Training images, files or folders, which give int8.onnx its scales; without them there is none.
    """
    from nas.deploy import images
    from nas.deploy.inputs import inputs_of
    from nas.deploy.models import load
    from nas.deploy.write import write

    network = load(model)
    pixels = images.read(images.files(calibrate)[0], inputs_of(network)) if calibrate else None
    error = write(network, output, calibration=pixels)
    print(f"{output}: logits differ from the network's by at most {error:.1e} of the largest")


@app.command
def show(genotype: str, /, output: Path = Path()) -> None:
    """Print a genotype and draw its cells: NAME-normal.png and NAME-reduce.png.

    Parameters
    ----------
    genotype
        A published one's name, one of results/genotypes or genotypes, or a file.
    output
        The folder for the drawings.
    """
    from nas.report.show import draw, find, written

    name, found = find(genotype)
    print(written(found), end="")
    for path in draw(name, found, output):
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the program's own; return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return app(given, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as mistake:
        told = f"{' '.join(str(mistake).split())} `nas --help` tells more"
    except ModuleNotFoundError as missing:
        name = (missing.name or "nas").split(".")[0]
        if name == "nas":
            raise
        extra = EXTRAS.get(name, "pipeline")
        told = f"{name} is not installed; pip install 'nas-studies[{extra}]'"
    except (UserError, OSError) as mistake:
        told = " ".join(str(mistake).split())
    except KeyboardInterrupt:
        return 130
    print(f"error: {told}", file=sys.stderr)
    return 1
