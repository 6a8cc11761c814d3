"""Measure how long exported and published networks take on this machine: python -m stages.latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nas.pipeline.names import LATENCY, Exported
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from nas.pipeline.records import Machine


class Timed(NamedTuple):
    """A network, and the ONNX files of its other forms, or their bytes."""

    network: nn.Module
    files: Mapping[str, Path | bytes]

    def described(self) -> dict[str, str | int]:
        """Its images, and the multiply-adds of one."""
        from nas.deploy.inputs import inputs_of
        from nas.networks.complexity import count

        channels, height, width = shape = inputs_of(self.network).shape
        return {"image": "x".join(map(str, shape)), "macs": count(self.network, (channels, height, width)).macs}


def exported(key: str) -> Timed:
    """One that the stage `export` or `export_slim` wrote."""
    from nas.deploy.models import load

    named = Exported(key)
    files = {"onnx": named.onnx, "int8": named.int8}
    return Timed(load(named.weights), {form: path for form, path in files.items() if path.is_file()})


def published(name: str) -> Timed:
    """The network of a published genotype as in the PIBConv paper's Table 1; what its weights are costs no time."""
    import torch

    from nas.data.inputs import Inputs
    from nas.deploy.export import export
    from nas.networks.network import Network as Model
    from nas.report.published import pibconv as paper
    from nas.space.published import PUBLISHED

    genotype, _, layers = name.rpartition("-")
    channels, _, _ = paper.PIBCONV_IMAGE
    torch.manual_seed(0)
    network = Model(
        PUBLISHED[genotype],
        channels=paper.PIBCONV_CHANNELS,
        layers=int(layers),
        num_classes=paper.PIBCONV_CLASSES,
        in_channels=channels,
    ).eval()
    classes = [str(i) for i in range(paper.PIBCONV_CLASSES)]
    network.inputs = Inputs(classes, paper.PIBCONV_IMAGE, [0.5] * channels, [0.25] * channels)
    return Timed(network, {"onnx": export(network).onnx})


def calls(timed: Timed, images: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """What computes a batch, by form."""
    import torch

    from nas.deploy.export import Deployed
    from nas.deploy.runtime import run, session

    deployed, batch = Deployed(timed.network), torch.from_numpy(images)

    def eager() -> object:
        with torch.inference_mode():
            return deployed(batch)

    runtimes = {form: session(model, threads) for form, model in timed.files.items()}
    return {"eager": eager} | {form: lambda r=runtime: run(r, images) for form, runtime in runtimes.items()}


def measure(all_timed: Mapping[str, Timed], batch: int, threads: int, repeats: int) -> list[dict]:
    """A row for each network and form."""
    import numpy as np
    import torch

    from nas.deploy.inputs import inputs_of
    from nas.deploy.latency import in_turns, quartiles

    torch.set_num_threads(threads)
    generator, which, to_call = np.random.default_rng(0), [], []
    for name, timed in all_timed.items():
        images = generator.integers(256, size=(batch, *inputs_of(timed.network).shape)).astype(np.uint8)
        for form, call in calls(timed, images, threads).items():
            which.append({"network": name, "form": form})
            to_call.append(call)
    rows = []
    for row, seconds in zip(which, in_turns(to_call, repeats), strict=True):
        lower, median, upper = (1000 * value for value in quartiles(seconds))
        told = {"lower": lower, "median": median, "upper": upper, "repeats": repeats}
        rows.append(row | {"batch": batch, "threads": threads} | told)
    return rows


def machine() -> Machine:
    import onnxruntime
    import torch

    from nas.deploy.latency import cores, processor
    from nas.pipeline.records import Machine
    from nas.training.device import device_name

    return Machine(
        processor=processor(),
        cores=cores(),
        instructions=device_name(torch.device("cpu")),
        torch=str(torch.__version__),
        onnxruntime=onnxruntime.__version__,
    )


def main(params: Params, name: str) -> None:
    from nas.pipeline.files import whole_folder
    from nas.pipeline.records import Latency

    p, rows = params.latency, []
    if p.networks or p.published:  # or torch need not be imported
        timed = {key: exported(key) for key in p.networks} | {name: published(name) for name in p.published}
        for batch in p.batches:
            for threads in sorted({1, params.threads}):
                rows += measure(timed, batch, threads, p.repeats)
        described = {name: one.described() for name, one in timed.items()}
        rows = [row | described[row["network"]] for row in rows]
    with whole_folder(LATENCY) as folder:
        Latency.write(folder / "table.csv", rows)
        if rows:
            machine().write(folder / "machine.json")


if __name__ == "__main__":
    run(main)
