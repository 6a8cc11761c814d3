"""What other programs run is the network: ONNX and torch.export's program, int8, and the same bytes each time."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from PIL import Image
from torch import Tensor, nn

from nas.cli import main
from nas.data.inputs import Inputs
from nas.deploy import export, latency, quantise
from nas.deploy.runtime import run, session, top1
from nas.deploy.write import write
from nas.dnal import slim
from nas.dnal.backbones import build
from nas.dnal.gates import gates
from nas.fast import accelerate
from nas.networks import network as networks
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space import operations
from nas.space.genotypes import Genotype
from nas.space.published import PUBLISHED

pytestmark = pytest.mark.slow

CLASSES = ["ant", "bee", "猫"]
INPUTS = Inputs(CLASSES, [3, 12, 12], [0.6, 0.4, 0.2], [0.3, 0.2, 0.1])


def images(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 12, 12), dtype=torch.uint8, generator=generator)


def evaluated(genotype: Genotype = PUBLISHED["DARTS_PseudoInvBn"], layers: int = 3) -> Network:
    torch.manual_seed(0)
    network = Network(genotype, channels=4, layers=layers, num_classes=3, auxiliary=True)
    network(torch.randn(16, 3, 12, 12))  # moves the running statistics
    network.inputs = INPUTS
    return network.eval()


def slimmed() -> nn.Module:
    """A network with sums of tensors of which some hold a part of the channels alone."""
    torch.manual_seed(0)
    gated = build(name="resnet56", num_classes=3, in_channels=3, width=0.5, image_size=12)
    for i, gate in enumerate(gates(gated).values()):
        gate.state = "closed"
        gate.mask[i % 3 :: 3] = False
    network = slim.slim(gated, (3, 12, 12)).eval()
    network.inputs = INPUTS
    return network


def reference(network: nn.Module, x: Tensor) -> np.ndarray:
    """Logits in float64, normalised here."""
    mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in (INPUTS.mean, INPUTS.std))
    with torch.no_grad():
        logits = network.double()((x.double() / 255 - mean) / std).numpy()
    network.float()
    return logits


@pytest.fixture(scope="module", params=[evaluated, slimmed])
def exported(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    network, folder = request.param(), tmp_path_factory.mktemp("exported")
    assert write(network, folder, calibration=images(64)) < 1e-5
    return network, folder


@pytest.mark.parametrize("count", [1, 2, 33])
def test_files_give_the_networks_logits_for_any_batch(count: int, exported: tuple[nn.Module, Path]) -> None:
    network, folder = exported
    x = images(count, seed=1)
    expected = reference(network, x)
    found = {
        "onnx": onnxruntime.InferenceSession(folder / "network.onnx").run(["logits"], {"images": x.numpy()})[0],
        "program": torch.export.load(folder / "network.pt2").module()(x).detach().numpy(),
    }
    for name, logits in found.items():
        assert logits.shape == (count, 3) and logits.dtype == np.float32
        assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max(), name
    assert count < 3 or expected.std(axis=0).min() > 0  # images do matter


def test_the_file_says_what_it_takes_and_of_which_classes(exported: tuple[nn.Module, Path]) -> None:
    told = onnxruntime.InferenceSession(exported[1] / "network.onnx")
    (taken,), (given,) = told.get_inputs(), told.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["batch", 3, 12, 12])
    assert (given.name, given.shape) == ("logits", ["batch", 3])
    metadata = told.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES and json.loads(metadata["shape"]) == [3, 12, 12]
    onnx.checker.check_model(str(exported[1] / "network.onnx"), full_check=True)


AGAIN = """
import sys
sys.path[:0] = ["tests", "tests/deploy"]
from test_deploy_export import *
write(MADE(), sys.argv[1], calibration=images(64))
"""


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_and_no_path(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    made = "evaluated" if isinstance(exported[0], Network) else "slimmed"
    program = [sys.executable, "-c", AGAIN.replace("MADE", made), str(tmp_path)]
    subprocess.run(program, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["int8.onnx", "network.onnx", "network.pt2"]
    for name in names:
        written = (exported[1] / name).read_bytes()
        assert written == (tmp_path / name).read_bytes(), name
        for own in (str(ROOT), str(tmp_path), str(exported[1]), "site-packages"):
            assert own.encode() not in written, (name, own)


def test_nothing_is_pickled_into_the_program(exported: tuple[nn.Module, Path]) -> None:
    with zipfile.ZipFile(exported[1] / "network.pt2") as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    assert any(name.endswith("models/model.json") for name in contents)
    assert not [name for name, held in contents.items() if name.endswith((".pt", ".pkl")) and held]


def test_exporting_leaves_the_network_as_it_was() -> None:
    network = evaluated(layers=2).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export.export(network)
    assert network.training and network.auxiliary is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in operations.FAMILIES if family != "noise"])
def test_every_operation_can_be_exported(family: str, tmp_path: Path) -> None:
    """Four at a time on the edges of both cells."""
    names = [name for name in operations.FAMILIES[family] if name != "none"]
    for start in range(0, len(names), 4):
        used = (names[start : start + 4] * 4)[:4]
        edges = tuple((name, i % 2) for i, name in enumerate(used))
        network = evaluated(Genotype(edges, (2, 3), edges, (2, 3)), layers=3)
        for p in network.parameters():  # layer scales begin near 0, where nothing could be seen
            torch.nn.init.normal_(p, std=0.3) if p.ndim > 1 else None
        assert write(network, tmp_path) < 1e-4


def test_what_torch_cannot_export_is_told_in_one_line() -> None:
    (noise,) = operations.FAMILIES["noise"]
    with pytest.raises(UserError, match="^network: torch cannot export it ") as told:
        export.export(evaluated(PUBLISHED["DARTS_V2"].with_all(noise), layers=1))
    assert "\n" not in str(told.value)


def test_the_fast_path_is_the_same_network_when_exported(tmp_path: Path) -> None:
    fast = accelerate(evaluated(layers=2))
    assert write(fast, tmp_path) < 1e-4


def test_files_that_are_not_the_network_are_refused(tmp_path: Path) -> None:
    network, other = evaluated(layers=1), evaluated(layers=1)
    with torch.no_grad():
        other.classifier.bias[1] += 1e-2 * reference(network, images(8)).max()
    write(network, tmp_path)
    with pytest.raises(
        UserError, match=r"network.onnx: its logits differ from the network's by .* of the largest, over"
    ):
        export.check(other, tmp_path / "network.onnx", tmp_path / "network.pt2", images(8))
    with torch.no_grad():
        other.classifier.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="differ from the network's by nan"):
        export.check(other, tmp_path / "network.onnx", tmp_path / "network.pt2", images(8))


def test_a_relative_error_is_to_the_largest_logit() -> None:
    assert export.relative_error(np.array([[1.0, -4.0]]), np.array([[1.1, -4.0]])) == pytest.approx(0.025)


# int8


def test_int8_holds_8_bits_and_stays_near_the_network(exported: tuple[nn.Module, Path]) -> None:
    network, folder = exported
    proto = onnx.load(folder / "int8.onnx")
    weights = {t.name: t for t in proto.graph.initializer}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    made_of = {node.output[0]: node for node in proto.graph.node}
    assert len(convolutions) > 20
    for node in convolutions:
        source = made_of[node.input[1]]
        assert source.op_type == "DequantizeLinear"
        values = onnx.numpy_helper.to_array(weights[source.input[0]])
        assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= 64  # 7 bits: see `quantise`
        scales = onnx.numpy_helper.to_array(weights[source.input[1]])
        assert scales.shape == (len(values),)  # one for each channel
    x = images(64, seed=2)
    expected, found = reference(network, x), run(session(folder / "int8.onnx"), x.numpy())
    noise = np.sqrt(((found - expected) ** 2).mean() / expected.var())
    assert 1e-4 < noise < 0.5


def test_what_int8_leaves_in_float32_is_told(exported: tuple[nn.Module, Path]) -> None:
    network, folder = exported
    told = quantise.in_float(folder / "int8.onnx")
    activations = sum(
        isinstance(module, nn.GELU) for name, module in network.named_modules() if "auxiliary" not in name
    )
    assert told.get("Gelu", 0) + told.get("Erf", 0) == activations
    assert "Conv" not in told and "Gemm" not in told
    assert quantise.in_float(folder / "network.onnx")["Conv"] > 20  # where all are


def test_top1_is_the_share_of_right_classes(exported: tuple[nn.Module, Path]) -> None:
    x, runtime = images(10, seed=3).numpy(), session(exported[1] / "network.onnx")
    labels = run(runtime, x).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 3
    assert top1(runtime, iter([(x[:6], labels[:6]), (x[6:], labels[6:])])) == 70.0


# The command, and what is missing


def test_nas_export_writes_what_another_program_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    network = evaluated(layers=2)
    networks.save(network, tmp_path / "network.safetensors", INPUTS)
    Image.fromarray(images(1)[0].permute(1, 2, 0).numpy()).save(tmp_path / "one.png")
    arguments = ["export", tmp_path / "network.safetensors", tmp_path / "out", "--calibrate", tmp_path / "one.png"]
    assert main([*map(str, arguments)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out'}: logits differ from the network's by at most ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"network.onnx", "network.pt2", "int8.onnx"}
    found = onnxruntime.InferenceSession(tmp_path / "out/network.onnx").run(None, {"images": images(4).numpy()})[0]
    np.testing.assert_allclose(found, reference(network, images(4)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_what_is_not_installed_is_told_in_one_line(package: str, tmp_path: Path, monkeypatch, capsys) -> None:
    networks.save(evaluated(layers=2), tmp_path / "network.safetensors", INPUTS)
    found = export.required.__globals__["find_spec"]
    monkeypatch.setitem(export.required.__globals__, "find_spec", lambda name: None if name == package else found(name))
    assert main(["export", str(tmp_path / "network.safetensors"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: {package} is not installed; pip install 'nas-studies[export]'\n"


def test_a_network_that_says_nothing_of_its_images_is_refused() -> None:
    network = evaluated(layers=2)
    network.inputs = None
    with pytest.raises(UserError, match="does not say what images it takes"):
        export.export(network)


# Latency


def test_threads_of_the_runtime_do_not_wait_busily_between_calls(exported: tuple[nn.Module, Path]) -> None:
    options = session(exported[1] / "network.onnx", threads=2).get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_networks_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, called = [0.0], []

    def taking(name: str, seconds: float):
        def call() -> None:
            called.append(name)
            clock[0] += seconds * (1 + called.count(name))  # each slower than the one before

        return call

    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    found = latency.in_turns([taking("a", 1.0), taking("b", 10.0)], repeats=3, warm_up=2)
    assert called == [*"aabb", *"ababab"]
    assert found == [[4.0, 5.0, 6.0], [40.0, 50.0, 60.0]]  # the first two calls do not count


def test_quartiles_are_numpys() -> None:
    for count in (1, 2, 3, 8, 31):
        values = np.random.default_rng(count).exponential(size=count)
        assert latency.quartiles(values.tolist()) == pytest.approx(tuple(np.quantile(values, (0.25, 0.5, 0.75))))


def test_the_machine_has_a_name() -> None:
    assert latency.processor().strip() and latency.cores() >= 1
