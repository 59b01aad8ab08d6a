"""Versions of an image: an axis in, where they lie side by side, and a sum out, where one of them was chosen.

The operators *extend* and *merge* of Oehmcke & Gieseke (2022): merge(extend(x, copies), choice) = x, to the bit, where
the choice is x everywhere. So a network that was trained on x sees no change when masks are put before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError

if TYPE_CHECKING:
    from torch import Tensor

    from .grain import Grain


def extend(image: Tensor, *copies: Tensor) -> Tensor:
    """The image and its copies along a new axis 1, the image first.

    All are (samples, [versions, ...,] channels, rows, columns) of one shape: a copy of fewer pixels is brought to the
    image's grid before. Extended anew, an image has one more axis for nested choices. Raises SelectionError.
    """
    for copy in copies:
        if copy.shape != image.shape:
            raise SelectionError(
                f"a copy is {tuple(copy.shape)}, the image {tuple(image.shape)}; bring it to the image's grid first"
            )
    return torch.stack((image, *copies), 1)


def merge(image: Tensor, mask: Tensor, axes: int = 1) -> Tensor:
    """The sum over the first version axes of image x mask: what is left of the versions where the mask is 1.

    `image` is (samples, versions, ..., channels, rows, columns), `mask` has those axes or 1 in their place. The first
    axis is the one that was extended last, so nested choices undo one extension each.
    """
    return (image * mask).sum(tuple(range(1, 1 + axes)))


def pass_chosen(image: Tensor, choice: Tensor, grain: Grain) -> Tensor:
    """What passes of `image` by a choice over the units of `grain`.

    `image` is (samples, [versions, ...,] channels, rows, columns), `choice` (samples or 1, versions, [versions, ...,]
    groups, rows, columns). Where it has several versions they are merged; one that has a single version holds for all
    versions of the image alike. Raises SelectionError where the image has fewer version axes.
    """
    mask = grain.spread(choice, (image.shape[-2], image.shape[-1]))
    axes, single = choice.ndim - 4, choice.shape[1:-3].numel() == 1
    if single:
        mask, axes = mask.flatten(1, axes)[:, 0], 0
    if image.ndim < 4 + axes or (axes and image.shape[1 : 1 + axes] != choice.shape[1 : 1 + axes]):
        raise SelectionError(
            f"an image of {tuple(image.shape)} does not have the versions of a choice of {tuple(choice.shape)}: "
            "extend it by its copies first"
        )
    mask = mask[(slice(None),) * (1 + axes) + (None,) * (image.ndim - 4 - axes)]
    return image * mask if single else merge(image, mask, axes)
