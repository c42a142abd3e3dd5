"""Networks: features (one net, or one for each sensor), a classifier over them, and the domain head of DANN.

No network keeps statistics of a batch (group normalisation, or frozen batch normalisation): an image's features do not
depend on which rank it landed on, nor on its neighbours.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

NETS = ("small", "resnet50")
BOTTLENECK = {"small": 64, "resnet50": 256}
#: Features of a column, and units of the two layers before them.
COMMON_FEATURES, HIDDEN_UNITS = 32, 64


def build_image_model(net: str, classes: int, *, seed: int, weights: Path | None = None) -> Any:
    """A module with the parts ``features``, ``classifier`` and ``domain``, the same for the same seed.

    :param net: ``small`` or ``resnet50`` (needs torchvision).
    :param weights: a state dict for ResNet-50's backbone, such as ImageNet's.
    :raises ImportError: torchvision is needed and does not import.
    """
    torch.manual_seed(seed)
    width = BOTTLENECK[net]
    features = {"features": small_cnn(width) if net == "small" else resnet50(width, weights)}
    return nn.ModuleDict(features | build_heads(width, classes))


def build_heads(width: int, classes: int) -> dict[str, Any]:
    """What stands on the features."""
    domain = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    return {"classifier": nn.Linear(width, classes), "domain": domain}


def build_sensor_model(samples: Sequence[Tensor], classes: int, *, seed: int) -> Any:
    """As :func:`build`, with an encoder for each sensor into common features: ``features``, ``target_features``.

    :param samples: rows (n, numbers) of the source, and of the target where that is another sensor; scaled by theirs.
    """
    torch.manual_seed(seed)
    encoders = dict(zip(("features", "target_features"), map(build_encoder, samples), strict=False))
    return nn.ModuleDict(encoders | build_heads(COMMON_FEATURES, classes))


def build_encoder(sample: Tensor) -> Any:
    """One sensor's numbers to common features, scaled by the sample's means and spreads, kept with the weights."""
    scale = nn.BatchNorm1d(sample.shape[1], eps=0.0, affine=False).eval()
    variance = sample.var(dim=0)
    scale.running_mean.copy_(sample.mean(dim=0))
    scale.running_var.copy_(torch.where(variance > 0, variance, torch.ones_like(variance)))
    inner = [nn.Linear(sample.shape[1], HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS), nn.ReLU()]
    return nn.Sequential(scale, *inner, nn.Linear(HIDDEN_UNITS, COMMON_FEATURES))


def domain_features(net: Any, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Features of rows of both domains."""
    if "target_features" in net:
        return net["features"](source), net["target_features"](target)
    first, second = net["features"](torch.cat([source, target])).split([len(source), len(target)])
    return first, second


def target_encoder(net: Any) -> Any:
    """The part that makes the target's features."""
    return net["target_features"] if "target_features" in net else net["features"]


def small_cnn(width: int) -> Any:
    """Four convolutions for small images, 16 to 64 channels, then ``width`` features."""
    layers: list[Any] = []
    channels = 3
    for wider in (16, 32, 64):
        layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.GroupNorm(4, wider), nn.ReLU(), nn.MaxPool2d(2)]
        channels = wider
    pooled = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels * 16, width), nn.ReLU()]
    return nn.Sequential(*layers, *pooled)


def resnet50(width: int, weights: Path | None) -> Any:
    """ResNet-50 with batch normalisation frozen, then ``width`` features."""
    try:
        from torchvision.models import resnet50 as backbone
    except (ImportError, RuntimeError) as error:  # a build for another torch raises the latter
        raise ImportError(f"--net resnet50 needs a torchvision that fits this torch ({error})") from error
    net = backbone()
    if weights is not None:
        net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    net.fc = nn.Identity()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(requires_grad=False)
            module.eval()  # and nothing calls train() on the whole: it would bring batch statistics back
    return nn.Sequential(net, nn.Linear(2048, width), nn.ReLU())


def normalize(images: Tensor) -> Tensor:
    """Images (n, 3, s, s) of bytes as numbers around 0, with ImageNet's means and spreads; columns stay."""
    if images.dtype != torch.uint8:
        return images
    mean, spread = imagenet_scale(images.device)
    return (images.float() / 255 - mean) / spread


@functools.cache
def imagenet_scale(device: torch.device) -> tuple[Tensor, Tensor]:
    """Means and spreads, (3, 1, 1) each; copied to a GPU once."""
    mean = torch.tensor([0.485, 0.456, 0.406], device=device)[:, None, None]
    return mean, torch.tensor([0.229, 0.224, 0.225], device=device)[:, None, None]
