"""The parts of convolutional mask models: two views mixed by attention, residual halvings, a small U-Net."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


def last_layer(
    features: int, outputs: int, kernel: int = 1, edge: Literal["zeros", "reflect", "replicate"] = "zeros"
) -> nn.Conv2d:
    """A convolution that gives 0 until it has learned. (The published code starts at 1e-3 of a usual draw.)"""
    layer = nn.Conv2d(features, outputs, kernel, padding=kernel // 2, padding_mode=edge)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolution(features: int, outputs: int, kernel: int = 3, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, or divides it by `stride` and rounds up; then batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(features, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class TwoViews(nn.Module):
    """Two convolutions a and b of the same pixels, mixed feature by feature: s a + (1 - s) b.

    s = sigmoid(W mean(a + b)), the mean over all pixels.
    """

    def __init__(self, channels: int, features: int, first: tuple[int, int], second: tuple[int, int]) -> None:
        """`first` and `second` are the (kernel, dilation) of each."""
        super().__init__()
        self.first = convolution(channels, features, *first)
        self.second = convolution(channels, features, *second)
        self.attention = nn.Conv2d(features, features, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(samples, channels, rows, columns) to (samples, features, rows, columns)."""
        a, b = self.first(pixels), self.second(pixels)
        share = self.attention((a + b).mean((2, 3), keepdim=True)).sigmoid()
        mixed: Tensor = share * a + (1 - share) * b
        return mixed


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one: relu(f(x) + W x); the size is divided by `stride` and rounded up."""

    def __init__(self, features: int, outputs: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.layers = nn.Sequential(convolution(features, outputs, stride=stride), second, nn.BatchNorm2d(outputs))
        self.shortcut = nn.Conv2d(features, outputs, 1, stride, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(samples, features, rows, columns) to (samples, outputs, rows / stride, columns / stride)."""
        return functional.relu(self.layers(pixels) + self.shortcut(pixels))


class ConvNet(nn.Sequential):
    """`halvings` residual blocks of stride 2 with ever twice the features, one of stride 1, and a last layer."""

    def __init__(self, channels: int, width: int, halvings: int, outputs: int) -> None:
        """`width` is the number of features of the first block."""
        features = [channels, *(width << step for step in range(halvings + 1))]
        strides = [2] * halvings + [1]
        pairs = zip(features[:-1], features[1:], strides, strict=True)
        super().__init__(*(Residual(*sizes) for sizes in pairs), last_layer(features[-1], outputs))


class UNet(nn.Module):
    """Down three times by convolutions of stride 2, up by pixel shuffles, each time beside what was there before.

    The last layer sees the finest features and the preview itself. Odd sizes are cut on the way up.
    """

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        """`width` is the number of features of the finest level; each coarser one has twice as many."""
        super().__init__()
        sizes = [width << step for step in range(4)]
        self.first = convolution(channels, width)
        finer_coarser = list(itertools.pairwise(sizes))
        self.down = nn.ModuleList(convolution(fine, coarse, stride=2) for fine, coarse in finer_coarser)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in reversed(finer_coarser))
        self.mix = nn.ModuleList(convolution(2 * fine, fine) for fine, _ in reversed(finer_coarser))
        self.last = last_layer(width + channels, outputs)

    def forward(self, preview: Tensor) -> Tensor:
        """(samples, channels, rows, columns) to (samples, outputs, rows, columns)."""
        levels = [self.first(preview)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        pixels = levels.pop()
        for up, mix in zip(self.up, self.mix, strict=True):
            beside = levels.pop()
            finer = functional.pixel_shuffle(up(pixels), 2)[..., : beside.shape[-2], : beside.shape[-1]]
            pixels = mix(torch.cat([finer, beside], 1))
        scores: Tensor = self.last(torch.cat([pixels, preview], 1))
        return scores
