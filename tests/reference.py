"""Operations, cells and networks computed the slow and obvious way: float64 numpy, a loop over the pixels."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy import ndarray
from torch import nn

Take = Callable[[], ndarray]


def take_from(module: nn.Module) -> tuple[Take, Iterator]:
    """A function that hands out the tensors of `module` in order, and the iterator behind it, to see that it ended."""
    tensors = iter([tensor.detach().numpy().copy() for tensor in module.state_dict().values()])
    return lambda: next(tensors), tensors


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give `module` float64 values far from every initial one, those of its batch norms included."""
    torch.manual_seed(seed)
    module.double()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            positive = tensor.ndim == 1 and not name.endswith(("bias", "running_mean"))
            tensor.copy_(torch.rand_like(tensor) + 0.5 if positive else torch.randn_like(tensor))
    return module


def relu(x: ndarray) -> ndarray:
    return np.where(x > 0, x, 0.0)


def sigmoid(x: ndarray) -> ndarray:
    return (1 + np.tanh(x / 2)) / 2  # 1 / (1 + e^-x) without overflow


def silu(x: ndarray) -> ndarray:
    return x * sigmoid(x)


def gelu(x: ndarray) -> ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def conv(
    x: ndarray,
    weight: ndarray,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> ndarray:
    filters, depth, kernel_height, kernel_width = weight.shape
    assert depth * groups == x.shape[1] and filters % groups == 0
    (top, left), (down, right) = padding, stride
    padded = np.zeros((*x.shape[:2], x.shape[2] + 2 * top, x.shape[3] + 2 * left))
    padded[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    height = (padded.shape[2] - dilation * (kernel_height - 1) - 1) // down + 1
    width = (padded.shape[3] - dilation * (kernel_width - 1) - 1) // right + 1
    out = np.zeros((len(x), filters, height, width))
    for f in range(filters):
        first = f // (filters // groups) * depth
        for i in range(height):
            for j in range(width):
                rows = [down * i + dilation * a for a in range(kernel_height)]
                columns = [right * j + dilation * b for b in range(kernel_width)]
                window = padded[:, first : first + depth][:, :, rows][:, :, :, columns]
                out[:, f, i, j] = (window * weight[f]).sum(axis=(1, 2, 3))
    return out


def pool(x: ndarray, stride: int, reduce: Callable) -> ndarray:
    """3×3 windows around every `stride`-th pixel, cut at the border."""
    height, width = x.shape[2:]
    rows, columns = range(0, height, stride), range(0, width, stride)
    out = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            out[:, :, i, j] = reduce(window, axis=(2, 3))
    return out


def norm(x: ndarray, take: Take, training: bool, affine: bool = True) -> ndarray:
    scale, shift = (take(), take()) if affine else (np.ones(x.shape[1]), np.zeros(x.shape[1]))
    mean, variance, _ = take(), take(), take()
    if training:
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    scale, shift, mean, variance = (v[:, None, None] for v in (scale, shift, mean, variance))
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def layer_norm(x: ndarray, take: Take, training: bool, affine: bool = True) -> ndarray:
    """Each pixel's channels to mean 0 and variance 1, in training and evaluation alike."""
    scale, shift = (take(), take()) if affine else (np.ones(x.shape[1]), np.zeros(x.shape[1]))
    out = np.empty_like(x)
    for n, i, j in np.ndindex(x.shape[0], *x.shape[2:]):
        pixel = x[n, :, i, j]
        out[n, :, i, j] = (pixel - pixel.mean()) / np.sqrt(pixel.var() + 1e-6) * scale + shift
    return out


def factorized_reduce(x: ndarray, take: Take, **how: bool) -> ndarray:
    """Each of two 1×1 convolutions sees a quarter of the pixels: those at (even, even), those at (odd, odd)."""
    even, odd = take(), take()
    x = relu(x)
    height, width = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
    out = np.zeros((len(x), len(even) + len(odd), height, width))
    for i in range(height):
        for j in range(width):
            out[:, : len(even), i, j] = x[:, :, 2 * i, 2 * j] @ even[:, :, 0, 0].T
            if 2 * i + 1 < x.shape[2] and 2 * j + 1 < x.shape[3]:
                out[:, len(even) :, i, j] = x[:, :, 2 * i + 1, 2 * j + 1] @ odd[:, :, 0, 0].T
    return norm(out, take, **how)


def squeeze_excitation(x: ndarray, squeezed: int, take: Take) -> ndarray:
    """Of each image: channel means, two linear maps with a SiLU between them, sigmoid; a factor for each channel."""
    narrow, narrow_bias, widen, widen_bias = take(), take(), take(), take()
    assert narrow.shape == (squeezed, x.shape[1], 1, 1)
    out = np.empty_like(x)
    for n, image in enumerate(x):
        hidden = silu(narrow[:, :, 0, 0] @ image.mean(axis=(1, 2)) + narrow_bias)
        factors = sigmoid(widen[:, :, 0, 0] @ hidden + widen_bias)
        out[n] = image * factors[:, None, None]
    return out


def mb_conv(
    x: ndarray, stride: int, take: Take, *, kernel: int, wide: int, squeezed: int, fused: bool = False, **how: bool
) -> ndarray:
    """Inverted bottleneck of `wide` channels; `squeezed` = 0: without squeeze-and-excitation."""
    steps, same = (stride, stride), (kernel // 2, kernel // 2)
    channels, out = x.shape[1], x
    if fused:
        out = silu(norm(conv(out, take(), steps, same), take, **how))
    else:
        if wide > channels:
            out = silu(norm(conv(out, take()), take, **how))
        out = silu(norm(conv(out, take(), steps, same, groups=wide), take, **how))
    assert out.shape[1] == wide
    if squeezed:
        out = squeeze_excitation(out, squeezed, take)
    out = norm(conv(out, take()), take, **how)
    return out + x if stride == 1 else out


def operation(name: str, x: ndarray, stride: int, take: Take, **how: bool) -> ndarray:
    """The operation `name` of the table in the papers; `how` is for `norm`."""
    channels, steps = x.shape[1], (stride, stride)
    kind, kernel = name[:4], int(name[-1]) if name[-1].isdigit() else 1
    same = (kernel // 2, kernel // 2)
    if name == "noise":
        shape = x[:, :, ::stride, ::stride].shape
        return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    if name == "none":
        return np.zeros_like(x[:, :, ::stride, ::stride])
    if kind == "skip":
        return x if stride == 1 else factorized_reduce(x, take, **how)
    if kind == "max_":
        return pool(x, stride, np.max)
    if kind == "avg_":
        return pool(x, stride, np.mean)
    if kind == "sep_":
        activate = gelu if "gelu" in name else relu
        scale = layer_norm if "_ln_" in name else norm
        x = conv(conv(activate(x), take(), steps, same, groups=channels), take())
        x = conv(conv(activate(scale(x, take, **how)), take(), (1, 1), same, groups=channels), take())
        return scale(x, take, **how)
    if kind == "nor_":
        return norm(conv(relu(x), take(), steps, same), take, **how)
    if kind == "dil_":
        x = conv(relu(x), take(), steps, (kernel - 1, kernel - 1), dilation=2, groups=channels)
        return norm(conv(x, take()), take, **how)
    if name.startswith("convnext"):
        x = layer_norm(conv(x, take(), steps, same, groups=channels), take, **how)
        return conv(gelu(conv(x, take())), take())
    if name == "ds_conv":
        x = relu(norm(conv(x, take(), steps, (1, 1), groups=channels), take, **how))
        return relu(norm(conv(x, take()), take, **how))
    if name == "mb_conv":
        squeezed = max(1, channels // 4)
        return mb_conv(x, stride, take, kernel=3, wide=4 * channels, squeezed=squeezed, **how)
    if name == "fused_mb_conv":
        return mb_conv(x, stride, take, kernel=3, wide=4 * channels, squeezed=0, fused=True, **how)
    if kind == "conv":
        return norm(conv(conv(relu(x), take(), (1, stride), (0, 3)), take(), (stride, 1), (3, 0)), take, **how)
    if kind == "pib_":
        x = norm(conv(x, take(), steps, same, groups=channels), take, **how)
        wide = conv(x, take())
        x = conv(wide, take(), (1, 1), same, groups=math.gcd(channels, wide.shape[1]))
        return conv(gelu(x), take())
    raise KeyError(name)


def stem_maps(x: ndarray, stem: str, take: Take, training: bool) -> tuple[ndarray, ndarray]:
    if stem == "cifar":
        return 2 * (norm(conv(x, take(), padding=(1, 1)), take, training),)
    maps = []
    for step in range(3):
        x = norm(conv(relu(x) if step else x, take(), (2, 2), (1, 1)), take, training)
        maps.append(x)
    return maps[1], maps[2]


def network(genotype: dict, x: ndarray, layers: int, take: Take, training: bool, stem: str = "cifar") -> ndarray:
    """Logits of the network of `layers` cells; `genotype` has lists of (operation, state) pairs."""
    how = {"training": training}
    before_last, last = stem_maps(x, stem, take, training)
    halved = [layers // 3, 2 * layers // 3, *([-1] if stem == "imagenet" else [])]
    for layer in range(layers):
        kind = "reduce" if layer in halved else "normal"
        if layer - 1 in halved:
            states = [factorized_reduce(before_last, take, **how)]
        else:
            states = [norm(conv(relu(before_last), take()), take, **how)]
        states.append(norm(conv(relu(last), take()), take, **how))
        edges = genotype[kind]
        for one, other in zip(edges[::2], edges[1::2], strict=True):
            pair = [
                operation(name, states[state], 2 if kind == "reduce" and state < 2 else 1, take, **how)
                for name, state in (one, other)
            ]
            states.append(pair[0] + pair[1])
        before_last, last = last, np.concatenate([states[s] for s in genotype[f"{kind}_concat"]], axis=1)
    weight, bias = take(), take()
    return last.mean(axis=(2, 3)) @ weight.T + bias
