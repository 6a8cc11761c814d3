"""A network for programs that have neither this library nor its Python: ONNX, and torch.export's program.

Both take images as they are, uint8 from 0 to 255, N × C × H × W, for any N, and give logits: what normalises them is
a part of the network. The same network gives the same bytes.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas.data.augment import normalise
from nas.deploy.inputs import inputs_of
from nas.deploy.runtime import required, run, session
from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import whole_file

INPUT, OUTPUT = "images", "logits"
# Of the logits, relative to the largest: float32 in another order of additions. Measured are 1e-7 to 1e-6 on ours.
BOUND = 1e-4
LARGEST = 2**31 - 1  # images at a time; older versions of torch want a bound


class Deployed(nn.Module):
    """A network together with what normalises its images.

    ``forward(images)``: N × C × H × W, uint8 → N × classes logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        inputs = inputs_of(network)
        self.network = deepcopy(network).cpu().float().eval()
        self.register_buffer("mean", torch.tensor(inputs.mean))
        self.register_buffer("std", torch.tensor(inputs.std))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(normalise(images, self.mean, self.std))


@dataclass(frozen=True)
class Exported:
    """A network as torch.export's program, and as ONNX: a serialised ModelProto."""

    program: ExportedProgram
    onnx: bytes

    def save_program(self, path: str | Path) -> None:
        # Into a file object: the archive would name its own path, and the file not have the same bytes elsewhere.
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            torch.export.save(self.program, file)

    def save_onnx(self, path: str | Path) -> None:
        with whole_file(path) as temporary:
            temporary.write_bytes(self.onnx)


def export(network: nn.Module) -> Exported:
    """Export a network that `nas.deploy.models.load` read, with its normalisation, for batches of any size.

    By torch.export, and from its program by torch.onnx's exporter. The ONNX file's metadata hold ``classes``, a JSON
    list, and ``shape``, [channels, height, width].

    Raises
    ------
    UserError
        If the network does not say what images it takes, has an operation that torch cannot export (noise is one), or
        what torch.onnx needs is not installed.
    """
    required("onnx", "onnxscript")
    inputs = inputs_of(network)
    # Two, since torch.export would take a batch of one for a size that is fixed.
    images = torch.zeros(2, *inputs.shape, dtype=torch.uint8)
    size = ({0: Dim("batch", max=LARGEST)},)
    try:
        with _silent(), torch.no_grad():
            program = torch.export.export(Deployed(network), (images,), dynamic_shapes=size, strict=False)
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # has this machine's paths
            made = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    except RuntimeError as error:  # as all of torch.export's and torch.onnx's are
        raise UserError(f"network: torch cannot export it ({reason(error)})") from error
    assert made is not None, "with no file to write it is returned"
    program.example_inputs = None  # torch would pickle them into the file, which holds tensors and JSON without them
    proto = made.model_proto
    _clean(proto)
    for key, value in (("classes", list(inputs.classes)), ("shape", list(inputs.shape))):
        proto.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    return Exported(program, proto.SerializeToString(deterministic=True))


@contextmanager
def _silent() -> Iterator[None]:
    """Without what torch and onnxscript tell of their own progress."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _clean(proto) -> None:  # noqa: ANN001, an onnx.ModelProto
    """Without what the exporter notes of sources; and the batch's size has its name."""
    graph = proto.graph
    (symbol,) = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input}
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
    for part in (proto, graph, *graph.node, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference of two arrays of logits, relative to the largest of `expected` by its absolute value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check(network: nn.Module, onnx: str | Path, program: str | Path, images: Tensor, threads: int = 1) -> float:
    """Compare exported files with the network they come from, on images one by one and all at once.

    Parameters
    ----------
    network : Module
        As `nas.deploy.models.load` read it.
    onnx, program : str or Path
        What `Exported` saved. ONNX Runtime computes the first, on the CPU.
    images : Tensor, uint8, N × C × H × W
    threads : int, default 1

    Returns
    -------
    float
        The larger `relative_error` of the two.

    Raises
    ------
    UserError
        If it is above `BOUND`.
    """
    runtime = session(onnx, threads)
    loaded = torch.export.load(program).module()
    deployed = Deployed(network)
    errors: dict[str, float] = dict.fromkeys((str(onnx), str(program)), 0.0)
    ways: dict[str, Callable[[Tensor], np.ndarray]] = {
        str(onnx): lambda batch: run(runtime, batch.numpy()),
        str(program): lambda batch: loaded(batch).numpy(),
    }
    with torch.no_grad():
        for batch in [*images.split(1), images]:
            expected = deployed(batch).numpy()
            for name, compute in ways.items():
                errors[name] = float(np.maximum(errors[name], relative_error(expected, compute(batch))))  # or NaN
    for name, error in errors.items():
        if not error <= BOUND:  # nor if it is no number
            raise UserError(f"{name}: its logits differ from the network's by {error:.1e} of the largest, over {BOUND}")
    return max(errors.values())
