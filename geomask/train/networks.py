"""Networks by name: the small one, those of segmentation-models, timm and torchgeo, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..errors import SelectionError
from ..named import load_function

#: (channels, outputs) to a network: (n, channels, y, x) to (n, outputs, y, x) of pixels, or (n, outputs) of chips.
type Factory = Callable[[int, int], nn.Module]

KINDS = "small, smp:ARCHITECTURE-ENCODER, timm:MODEL, torchgeo:MODEL or MODULE:FUNCTION of your own"

#: What an encoder of five halvings needs of rows and columns.
MULTIPLE = 32


class SmallNet(nn.Sequential):
    """A fully convolutional classifier of pixels, a few thousand weights: (n, channels, y, x) to (n, classes, y, x).

    A 1 x 1 convolution mixes channels, two 3 x 3 ones look around; the receptive field is 5 x 5 pixels.
    """

    def __init__(self, channels: int, classes: int, width: int, dropout: float) -> None:
        """`width` features between the layers; `dropout` is the share of features that are dropped in training."""
        super().__init__(
            nn.Conv2d(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )


class Padded(nn.Module):
    """A network for chips of any size: 0, the mean, to the right and below up to a multiple, and cut off again."""

    def __init__(self, network: nn.Module, multiple: int = MULTIPLE) -> None:
        """`network` takes rows and columns that are multiples of `multiple`."""
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, y, x) to (n, outputs, y, x), or (n, outputs)."""
        rows, columns = image.shape[-2:]
        below, right = -rows % self.multiple, -columns % self.multiple
        outputs: Tensor = self.network(functional.pad(image, (0, right, 0, below)) if below or right else image)
        return outputs[..., :rows, :columns] if outputs.ndim == 4 else outputs


def make_network(name: str | Factory, channels: int, outputs: int, width: int = 32, dropout: float = 0.4) -> nn.Module:
    """A network with fresh weights; nothing is downloaded, but for weights that are named.

    `name` is one of:

    ``small``                SmallNet of `width` features and `dropout`
    ``smp:unet-resnet18``    an architecture and an encoder of segmentation-models-pytorch
    ``timm:resnet18``        a model of timm, which classifies chips
    ``torchgeo:resnet50``    a model of torchgeo (``torchgeo.models.list_models()``, and ``fcn``)
    ``torchgeo:resnet50@ResNet50_Weights.SENTINEL2_ALL_MOCO``   the same from torchgeo's weights, which are downloaded
    ``mypackage.nets:make``  your own function of (channels, outputs); a function itself does too

    Raises SelectionError where there is no such network, or it cannot be made.
    """
    if callable(name):
        return _own(name, getattr(name, "__name__", str(name)), channels, outputs)
    kind, _, model = name.partition(":")
    if name == "small":
        return SmallNet(channels, outputs, width, dropout)
    if not model:
        raise SelectionError(f"no network {name!r}; choose one of {KINDS}")
    if kind not in ("smp", "timm", "torchgeo"):
        return _own(load_factory(name), name, channels, outputs)
    make = {"smp": _smp, "timm": _timm, "torchgeo": _torchgeo}[kind]
    try:
        return make(model, channels, outputs, width)
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError, ImportError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise SelectionError(f"cannot make the network {name} of {channels} channels: {said}") from error


def without_weights(name: str) -> str:
    """The name of a network without that of weights to start from: a run has weights of its own."""
    return name if is_own(name) else name.partition("@")[0]


def is_own(name: str) -> bool:
    """Whether a network's name is that of the user's own function, which has to be imported."""
    return ":" in name and name.partition(":")[0] not in ("smp", "timm", "torchgeo")


def load_factory(name: str) -> Factory:
    """The function that ``module:function`` names: it is imported, so it is to be one of the user's own.

    Raises SelectionError where there is none.
    """
    try:
        return load_function(name)
    except ValueError as error:
        raise SelectionError(f"no network {name!r}; choose one of {KINDS}") from error
    except ImportError as error:
        raise SelectionError(f"no network {name}: {error}; put the module where Python finds it") from error


def _own(factory: Factory, name: str, channels: int, outputs: int) -> nn.Module:
    network: Any = factory(channels, outputs)
    if not isinstance(network, nn.Module):
        raise SelectionError(f"{name}({channels}, {outputs}) gives {type(network).__name__}, not a torch.nn.Module")
    return network


def _smp(model: str, channels: int, outputs: int, width: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    architecture, _, encoder = model.partition("-")  # no architecture has a hyphen in its name, encoders do
    if not encoder:
        raise ValueError("name an architecture and an encoder, such as smp:unet-resnet18")
    return Padded(smp.create_model(architecture, encoder, None, channels, outputs))


def _timm(model: str, channels: int, outputs: int, width: int) -> nn.Module:
    import timm

    return timm.create_model(model, pretrained=False, in_chans=channels, num_classes=outputs)


def _torchgeo(model: str, channels: int, outputs: int, width: int) -> nn.Module:
    from torchgeo import models

    model, _, start = model.partition("@")
    if start:
        return _started(model, start, channels, outputs)
    if model == "fcn":
        return models.FCN(channels, outputs, width)
    if model == "unet":
        return Padded(models.get_model(model, in_channels=channels, classes=outputs))
    return models.get_model(model, in_chans=channels, num_classes=outputs)


def _started(model: str, start: str, channels: int, outputs: int) -> nn.Module:
    """A model of torchgeo from weights by their name, which are of so many channels, in an order of their own."""
    from torchgeo import models

    weights = models.get_weight(start)
    wanted = weights.meta["in_chans"]
    if channels != wanted:
        raise ValueError(f"the weights {start} are of {wanted} channels; select those, in the order of their bands")
    return models.get_model(model, weights=weights, num_classes=outputs)
