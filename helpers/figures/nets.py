"""A net measured block by block and drawn: its operations, what comes out, where parameters and arithmetic are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import models
from helpers.figures import style

SIDE, SHIFT = 0.74, 0.03  # in columns of the drawing: side of a square of 32 pixels, and from sheet to sheet of a stack
ARROW = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0, "color": style.BLACK}


@dataclass(frozen=True)
class Block:
    """One block of a net, as it was measured on one image."""

    name: str  # path of its module, such as "layer1.0"
    operations: list[str]  # in order, such as "Conv 3×3"
    adds_input: bool  # whether a shortcut adds its input to its output
    parameters: int  # trainable numbers in it
    multiply_adds: int  # of its convolutions and linear layers, for one image
    output: np.ndarray  # what came out: (C, H, W), or (C,) behind the pooling


def measure_blocks(model: nn.Sequential, image: torch.Tensor) -> list[Block]:
    """Send one normalised image (1, 3, 32, 32) through a net, block by block; a stage of several is taken apart."""
    blocks = []
    with torch.no_grad(), models.evaluating(model):
        for name, block in _blocks(model):
            with FlopCounterMode(display=False) as counter:
                image = block(image)
            adds_input = isinstance(block, models.AddResidual | models.ResidualBlock)
            multiply_adds = counter.get_total_flops() // 2  # it counts a multiplication and its addition as two
            output = image[0].float().cpu().numpy()
            parameters = models.count_parameters(block)
            blocks.append(Block(name, _operations(block), adds_input, parameters, multiply_adds, output))
    return blocks


def plot_net(blocks: Sequence[Block], image: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw a net as stacks of what its blocks make of one image (32, 32, 3) uint8: a square's side grows with √pixels.

    Block k stands at x = k + 1, so that figures below can share the axis; x and y have one scale.
    """
    ax = ax or plt.subplots(figsize=(style.WIDTH, 2.9))[1]
    edges = [_draw_stack(ax, 0, [image], "image", image.shape[::-1], "")]
    for x, block in enumerate(blocks, start=1):
        edges.append(_draw_stack(ax, x, _sheets(block.output), block.name, block.output.shape, _lines(block)))
        ax.annotate("", (x - 0.435, 0), (x - 0.585, 0), arrowprops=ARROW)
        if block.adds_input:
            top = max(edges[-2:]) + 0.05
            bow = {**ARROW, "color": style.RED, "connectionstyle": "arc3,rad=-0.35"}
            ax.annotate("", (x, top), (x - 1, top), arrowprops=bow)
            ax.text(x - 0.5, top + 0.2, "shortcut", color=style.RED, ha="center", va="bottom", fontsize=9)
    ax.set(xlim=(-0.55, len(blocks) + 0.55), ylim=(-1.75, 0.85))
    ax.set_axis_off()
    return ax


def _blocks(model: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    """The stages of a net by name; one that holds several blocks is taken apart."""
    for name, stage in model.named_children():
        several = any(list(part.children()) for part in stage.children())
        yield from ((f"{name}.{key}", part) for key, part in stage.named_children()) if several else [(name, stage)]


def _operations(block: nn.Module) -> list[str]:
    """What a block does, in order, with the side of its windows: "Conv 3×3", "MaxPool 2"."""
    leaves = [m for m in block.modules() if not list(m.children()) and not isinstance(m, nn.Sequential)]
    sides = ["×".join(map(str, np.ravel(getattr(leaf, "kernel_size", "")))) for leaf in leaves]
    return [f"{type(leaf).__name__.removesuffix('2d')} {side}".strip() for leaf, side in zip(leaves, sides)]


def _lines(block: Block) -> str:
    """A block's operations, one a line; a block that does the same twice says so."""
    once, again = np.array_split(block.operations, 2)
    lines = ["twice:", *once] if list(once) == list(again) else block.operations
    return "\n".join(lines + ["+ its input"] * block.adds_input)


def _sheets(output: np.ndarray) -> list[np.ndarray]:
    """What to draw of an output: more channels, more sheets, the liveliest in front; a vector is one column."""
    if output.ndim == 1:
        return [output[:, None]]
    count = max(1, round(np.log2(len(output))) - 2)
    return list(output[np.argsort(output.std((1, 2)))[-count:]])


def _draw_stack(
    ax: Axes, x: float, sheets: Sequence[np.ndarray], name: str, shape: Sequence[int], operations: str
) -> float:
    """Draw a stack of maps around (x, 0) over its texts; returns its upper edge."""
    height, width = (SIDE * np.sqrt(min(32, size) / 32) for size in sheets[0].shape[:2])
    for k, sheet in enumerate(sheets):
        away = SHIFT * ((len(sheets) - 1) / 2 - k)
        left, bottom = x + away - width / 2, away - height / 2
        place = (left, left + width, bottom, bottom + height)
        ax.imshow(sheet, extent=place, cmap=style.SEQUENTIAL, aspect="equal", zorder=2 + k / 10)
        ax.add_patch(Rectangle((left, bottom), width, height, fill=False, color="white", lw=0.8, zorder=2.05 + k / 10))
    ax.text(x, -0.55, name, ha="center", va="top", fontsize=10, weight="bold")
    ax.text(x, -0.72, "×".join(map(str, shape)), ha="center", va="top", fontsize=9, color=style.BLUE)
    ax.text(x, -0.9, operations, ha="center", va="top", fontsize=8, color="#444444", linespacing=1.3)
    return height / 2 + SHIFT * (len(sheets) - 1) / 2
