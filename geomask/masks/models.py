"""Mask models: networks that predict scores of blocks from a preview.

All are named as in Oehmcke & Gieseke, "Input Selection for Bandwidth-Limited Neural Network Inference" (SDM 2022), and
built of plain layers. Each maps float32 (samples, channels, rows, columns) to (samples, outputs, rows, columns), gives
exactly 0 before the first step, and learns from it on.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SelectionError
from .convolutions import ConvNet, TwoViews, UNet, last_layer

Model = Literal["linear", "mlp", "conv", "convatt", "smallconvatt", "convnet", "unet", "attention"]
MODELS: tuple[Model, ...] = get_args(Model)

#: Features of the first convolution, and hidden units of a perceptron for each power of versions.
WIDTH = 8
#: Hidden units of a perceptron at most: a power of the number of versions is soon beyond any machine.
MAX_HIDDEN = 512


def mask_model(name: str, preview: tuple[int, int, int], versions: int, shape: tuple[int, int, int]) -> nn.Module:
    """The model `name` for a preview of (channels, rows, columns) and `versions` of a mask of `shape`.

    `shape` is (groups, rows, columns). Raises SelectionError for another name.
    """
    channels, outputs, blocks = preview[0], versions * shape[0], shape[1:]
    match name:
        case "linear":
            return Linear(preview, (outputs, *blocks))
        case "mlp":
            return Perceptron(preview, (outputs, *blocks), min(WIDTH**versions, MAX_HIDDEN))
        case "conv":
            # One pixel has no neighbour to be mirrored.
            return last_layer(channels, outputs, 3, "reflect" if min(preview[1:]) > 1 else "replicate")
        case "convatt":
            return nn.Sequential(TwoViews(channels, WIDTH, (3, 1), (3, 2)), last_layer(WIDTH, outputs))
        case "smallconvatt":
            return nn.Sequential(TwoViews(channels, WIDTH, (1, 1), (3, 1)), last_layer(WIDTH, outputs))
        case "convnet":
            halvings = int(math.log2(max(1, min(preview[1] / blocks[0], preview[2] / blocks[1]))))
            return ConvNet(channels, WIDTH, halvings, outputs)
        case "unet":
            return UNet(channels, WIDTH, outputs)
        case "attention":
            return Attention(channels, outputs)
    raise SelectionError(f"no mask model {name!r}; choose one of {', '.join(MODELS)}")


class Linear(nn.Module):
    """gamma W x over all pixels of the preview at once: gamma is 0 at the start, W a Xavier-normal draw, no bias."""

    def __init__(self, preview: tuple[int, int, int], outputs: tuple[int, int, int]) -> None:
        """`preview` is (channels, rows, columns), `outputs` (scores, rows, columns)."""
        super().__init__()
        self.outputs = outputs
        self.weights = nn.Linear(math.prod(preview), math.prod(outputs), bias=False)
        nn.init.xavier_normal_(self.weights.weight)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, preview: Tensor) -> Tensor:
        """As the module says."""
        found: Tensor = self.gamma * self.weights(preview.flatten(1))
        return found.reshape(-1, *self.outputs)


class Perceptron(nn.Sequential):
    """One hidden layer over all pixels of the preview at once; its second layer is 0 at the start."""

    def __init__(self, preview: tuple[int, int, int], outputs: tuple[int, int, int], hidden: int) -> None:
        """`preview` is (channels, rows, columns), `outputs` (scores, rows, columns)."""
        last = nn.Linear(hidden, math.prod(outputs))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = nn.Linear(math.prod(preview), hidden)
        super().__init__(nn.Flatten(), first, nn.ReLU(), last, nn.Unflatten(1, outputs))


class Attention(nn.Module):
    """gamma V softmax(Q^T K) over all pixels of the preview; gamma is 0 at the start.

    Q and K (channels to channels) and V (channels to outputs) are 1 x 1 convolutions.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, outputs, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, preview: Tensor) -> Tensor:
        """As the module says."""
        query, key, value = (layer(preview).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        # (samples, pixels, features); scale 1: the published one divides by nothing.
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        found: Tensor = self.gamma * mixed.transpose(1, 2)
        return found.reshape(len(preview), -1, *preview.shape[2:])
