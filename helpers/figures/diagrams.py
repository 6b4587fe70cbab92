"""A net measured block by block and drawn: its operations, what comes out, where parameters and arithmetic are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn

from helpers import models
from helpers.figures import style

SIDE = 0.74  # of a square of 32 pixels, in columns of the drawing
SHIFT = 0.03  # between two sheets of a stack
WORDS = {"Linear": "linear", "BatchNorm2d": "BatchNorm", "ReLU": "ReLU", "AdaptiveAvgPool2d": "average", "Flatten": ""}


@dataclass(frozen=True)
class Block:
    """One block of a net, as it was measured on one image."""

    name: str  # path of its module, such as "layer1.0"
    inside: tuple[str, ...]  # its operations, in order
    adds_input: bool  # whether a shortcut adds its input to its output
    parameters: int  # trainable numbers in it
    multiply_adds: int  # of its convolutions and linear layers, for one image
    output: np.ndarray  # what came out: (C, H, W), or (C,) behind the pooling

    @property
    def shape(self) -> str:
        """Channels, height and width of what comes out, such as "64×32×32"."""
        return "×".join(map(str, self.output.shape))


def measure_blocks(model: nn.Sequential, image: torch.Tensor) -> list[Block]:
    """Send one image through a net and note every block's output and arithmetic with forward hooks.

    The image is (1, 3, 32, 32), normalised, on the net's device. The blocks come in order; a stage of several blocks is
    taken apart. The net's mode is given back, and no hook stays.
    """
    blocks = dict(_blocks(model))
    outputs: dict[nn.Module, torch.Tensor] = {}
    watched = [*blocks.values(), *(m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))]
    hooks = [m.register_forward_hook(lambda module, _, output: outputs.update({module: output})) for m in watched]
    try:
        with torch.no_grad(), models.evaluating(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [_measured(name, block, outputs) for name, block in blocks.items()]


def plot_net(blocks: Sequence[Block], image: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw a net as stacks of what its blocks make of one image (32, 32, 3) uint8: a square's side grows with √pixels.

    Block k stands at x = k + 1, so that figures below can share the axis. A square map is drawn as a square: x and y
    have one scale, and height that is left over stays empty.
    """
    ax = ax or plt.subplots(figsize=(style.WIDTH, 2.9))[1]
    tops = [_draw_sheets(ax, 0, [image])]
    _label(ax, 0, "image", "×".join(map(str, np.moveaxis(image, 2, 0).shape)), "")
    for x, block in enumerate(blocks, start=1):
        tops.append(_draw_sheets(ax, x, _sheets(block.output)))
        _label(ax, x, block.name, block.shape, _lines(block.inside) + ("\n+ its input" if block.adds_input else ""))
        ax.add_patch(FancyArrowPatch((x - 0.585, 0), (x - 0.435, 0), arrowstyle="-|>", mutation_scale=9, color="k"))
        if block.adds_input:
            _draw_shortcut(ax, x, max(tops[-2:]) + 0.05)
    ax.set(xlim=(-0.55, len(blocks) + 0.55), ylim=(-1.75, 0.85))
    ax.set_axis_off()
    return ax


def plot_costs(blocks: Sequence[Block], quantity: str, ax: Axes | None = None) -> Axes:
    """Bars that stand below the blocks of `plot_net`: a `quantity` of each, "parameters" or "multiply_adds"."""
    ax = ax or plt.subplots(figsize=(style.WIDTH, 1.8))[1]
    values = np.array([getattr(block, quantity) for block in blocks])
    colour = {"parameters": style.BLUE, "multiply_adds": style.ORANGE}[quantity]
    bars = ax.bar(range(1, len(blocks) + 1), values / 1e6, color=colour, width=0.7)
    texts = [f"{short(value)}\n{value / values.sum():.0%}" if value else "0\n" for value in values]
    ax.bar_label(bars, texts, padding=2, fontsize=9)
    ax.set_xticks(range(1, len(blocks) + 1), [block.name for block in blocks])
    ax.margins(y=0.5)
    ax.grid(False)
    ax.yaxis.set_visible(False)  # every bar has its value on top
    ax.spines["left"].set_visible(False)
    ax.set(title=f"{quantity.replace('_', '-').capitalize()}: {short(values.sum())} in all")
    return ax


def short(count: float) -> str:
    """A count in three digits: 75497472 → "75.5 M", 1856 → "1.86 k"."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if count >= size:
            digits = max(0, 2 - int(np.log10(count / size)))
            return f"{count / size:.{digits}f}{letter}"
    return f"{count:.0f}"


def _blocks(model: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    """Stages that are one block as they are, others block by block."""
    for name, stage in model.named_children():
        parts = list(stage.named_children())
        if any(list(part.children()) for _, part in parts):
            yield from ((f"{name}.{part_name}", part) for part_name, part in parts)
        else:
            yield name, stage


def _measured(name: str, block: nn.Module, outputs: dict[nn.Module, torch.Tensor]) -> Block:
    weighted = [m for m in block.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    leaves = [m for m in block.modules() if not list(m.children()) and not isinstance(m, nn.Sequential)]
    return Block(
        name=name,
        inside=tuple(filter(None, map(_word, leaves))),
        adds_input=isinstance(block, models.AddResidual | models.ResidualBlock),
        parameters=models.count_parameters(block),
        multiply_adds=sum(outputs[m][0].numel() * m.weight[0].numel() for m in weighted),  # every output is a sum
        output=outputs[block][0].float().cpu().numpy(),
    )


def _word(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.Conv2d):
        return f"conv {module.kernel_size[0]}×{module.kernel_size[1]}"
    if isinstance(module, nn.MaxPool2d):
        return f"max-pool {module.kernel_size}"
    return WORDS.get(kind, kind)


def _lines(inside: Sequence[str]) -> str:
    """Operations one a line; a block that does the same twice says so."""
    half = len(inside) // 2
    if half and tuple(inside[:half]) == tuple(inside[half:]):
        return "\n".join(["twice:", *inside[:half]])
    return "\n".join(inside)


def _sheets(output: np.ndarray) -> list[np.ndarray]:
    """What to draw of an output: more channels, more sheets, the liveliest in front; a vector is one column."""
    if output.ndim == 1:
        return [output[:, None]]
    count = max(1, round(np.log2(len(output))) - 2)
    return list(output[np.argsort(output.std((1, 2)))[-count:]])


def _draw_sheets(ax: Axes, x: float, sheets: Sequence[np.ndarray]) -> float:
    """Draw a stack of maps around (x, 0); returns its upper edge."""
    height, width = (SIDE * np.sqrt(min(32, size) / 32) for size in sheets[0].shape[:2])
    for k, sheet in enumerate(sheets):
        away = SHIFT * ((len(sheets) - 1) / 2 - k)
        left, bottom = x + away - width / 2, away - height / 2
        place = (left, left + width, bottom, bottom + height)
        ax.imshow(sheet, extent=place, cmap=style.SEQUENTIAL, aspect="equal", zorder=2 + k / 10)
        ax.add_patch(Rectangle((left, bottom), width, height, fill=False, color="white", lw=0.8, zorder=2.05 + k / 10))
    return height / 2 + SHIFT * (len(sheets) - 1) / 2


def _draw_shortcut(ax: Axes, x: float, top: float) -> None:
    arc = FancyArrowPatch(
        (x - 1, top), (x, top), connectionstyle="arc3,rad=-0.35", arrowstyle="-|>", mutation_scale=10, color=style.RED
    )
    ax.add_patch(arc)
    ax.text(x - 0.5, top + 0.2, "shortcut", color=style.RED, ha="center", va="bottom", fontsize=9)


def _label(ax: Axes, x: float, name: str, shape: str, inside: str) -> None:
    ax.text(x, -0.55, name, ha="center", va="top", fontsize=10, weight="bold")
    ax.text(x, -0.72, shape, ha="center", va="top", fontsize=9, color=style.BLUE)
    ax.text(x, -0.9, inside, ha="center", va="top", fontsize=8, color="#444444", linespacing=1.3)
