"""int8: post-training static quantisation of an exported network, by ONNX Runtime's own tools.

Weights get a scale for each channel, what flows between operations a scale for each tensor, found by computing some
training images. What ONNX Runtime has no int8 kernel for stays in float32 between a conversion and one back.
"""

import io
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from nas.deploy.export import INPUT
from nas.deploy.runtime import required, session
from nas.pipeline.files import whole_file

# Of an optimised graph: what converts, and what moves values and computes none
CONVERTS = ("QuantizeLinear", "DequantizeLinear", "Cast")
MOVES = (
    *("Concat", "ConstantOfShape", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape"),
    *("ScatterND", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
NORMALISATION = ("Sub", "Div")  # the exporter's, before the first convolution; no network here has others


def quantise(onnx: bytes, path: str | Path, images: Tensor, batch_size: int = 64) -> None:
    """Write the int8 network.

    Parameters
    ----------
    onnx : bytes
        What `nas.deploy.export.export` gave.
    path : str or Path
        The file to write.
    images : Tensor, uint8, N × C × H × W
        Training images, whose smallest and largest values fix the scales.
    batch_size : int, default 64

    Raises
    ------
    UserError
        If onnx or onnxruntime is not installed.
    """
    required("onnx", "onnxruntime")
    import onnx as format
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(images.split(batch_size))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    proto = format.load_from_string(onnx)
    # Batch norms that no convolution is before have one weight a channel, which the tools take for a matrix.
    apart = [node.name for node in proto.graph.node if node.op_type in (*NORMALISATION, "Cast", "BatchNormalization")]
    with TemporaryDirectory() as folder, whole_file(path) as temporary, _silent():
        source = Path(folder) / "network.onnx"
        source.write_bytes(onnx)
        quantize(
            source,
            temporary,
            Images(),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits, or sums would saturate on processors without VNNI
            nodes_to_exclude=apart,
        )
        quantised = format.load(temporary)
        quantised.producer_name, quantised.producer_version = proto.producer_name, proto.producer_version
        temporary.write_bytes(quantised.SerializeToString(deterministic=True))


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the tools print and warn of: a preparation that changes nothing here."""
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def in_float(path: str | Path) -> dict[str, int]:
    """How many operations of an int8 network ONNX Runtime computes in float32, by their type.

    The normalisation of the images, conversions, and what moves values without computing any, are not counted.
    """
    import onnx

    with TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        session(path, optimised=optimised)
        nodes = onnx.load(optimised).graph.node
    kinds = Counter(node.op_type for node in nodes if not node.op_type.startswith(("QLinear", "QGemm")))
    return {kind: kinds[kind] for kind in sorted(kinds) if kind not in (*CONVERTS, *MOVES, *NORMALISATION)}
