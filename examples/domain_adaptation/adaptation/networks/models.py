"""Networks: features (one network, or one encoder per sensor), a classifier on them, and a domain head (DANN, CDAN).

No network depends on batch statistics (group normalization, or frozen batch normalization): the features of an image
depend neither on its rank nor on the other images of the batch.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adaptation.networks import resnet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

NETS = ("small", *resnet.STRUCTURES)
BOTTLENECK = {"small": 64, "resnet18": 256, "resnet50": 256}
#: Number of features of a column, and units of the two layers before them.
COMMON_FEATURES, HIDDEN_UNITS = 32, 64
#: Largest number of products of features and classes that are used as they are; beyond it, random ones of
#: ``RANDOM_PRODUCTS`` (Long et al., 2018, section 3.1; the number of their code).
MAX_PRODUCTS, RANDOM_PRODUCTS = 4096, 1024


def build_image_model(
    net: str, classes: int, *, seed: int, weights: Path | None = None, conditional: bool = False
) -> Any:
    """Return a module with the parts ``features``, ``classifier`` and ``domain``, determined by the seed.

    :param net: one of :data:`NETS`.
    :param weights: a state dict for the backbone of a ResNet, such as torchvision's of ImageNet.
    :param conditional: add the part ``condition``, whose outputs the domain head uses instead of features.
    :raises image_folders.DataError: if the weights cannot be read, or are those of another network.
    """
    torch.manual_seed(seed)
    width = BOTTLENECK[net]
    features = {"features": small_cnn(width) if net == "small" else residual_network(net, width, weights)}
    return nn.ModuleDict(features | build_heads(width, classes, conditional=conditional))


def build_heads(width: int, classes: int, *, conditional: bool) -> dict[str, Any]:
    """Return the modules that use the features."""
    heads = {"domain": build_domain_head(width), "classifier": nn.Linear(width, classes)}
    if conditional:
        # Built last, and the classifier in its usual place: all methods start from the same features and classifier.
        condition = Condition(width, classes)
        heads |= {"condition": condition, "domain": build_domain_head(condition.width, hidden=width)}
    return heads


def build_domain_head(width: int, hidden: int | None = None) -> Any:
    """Return a classifier of the domain with one hidden layer, as wide as its input by default."""
    hidden = hidden or width
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))


class Condition(nn.Module):  # type: ignore[misc]
    """Products of features and class probabilities: CDAN's multilinear map (Long et al., 2018, section 3.1).

    If there were more than :data:`MAX_PRODUCTS`, each product is of two random projections, which are fixed.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.randomized = features * classes > MAX_PRODUCTS
        self.width = RANDOM_PRODUCTS if self.randomized else features * classes
        if self.randomized:
            # Buffers: a checkpoint, and ranks that start from rank 0's state, have the same projections.
            self.register_buffer("project_features", torch.randn(features, self.width))
            self.register_buffer("project_classes", torch.randn(classes, self.width))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the products, (n, width), of features (n, f) and probabilities (n, c)."""
        if self.randomized:
            products = (features @ self.project_features) * (probabilities @ self.project_classes)
            return products / math.sqrt(self.width)
        return (probabilities[:, :, None] * features[:, None, :]).flatten(1)


def build_sensor_model(samples: Sequence[Tensor], classes: int, *, seed: int, conditional: bool = False) -> Any:
    """Return a module like :func:`build_image_model`, with one encoder per sensor: ``features``, ``target_features``.

    :param samples: rows (n, numbers) of the source, and of the target if it is another sensor; used to scale the
        inputs.
    """
    torch.manual_seed(seed)
    encoders = dict(zip(("features", "target_features"), map(build_encoder, samples), strict=False))
    return nn.ModuleDict(encoders | build_heads(COMMON_FEATURES, classes, conditional=conditional))


def build_encoder(sample: Tensor) -> Any:
    """Return an encoder of one sensor's numbers, scaled by mean and variance of the sample, stored with the weights."""
    scale = nn.BatchNorm1d(sample.shape[1], eps=0.0, affine=False).eval()
    variance = sample.var(dim=0)
    scale.running_mean.copy_(sample.mean(dim=0))
    scale.running_var.copy_(torch.where(variance > 0, variance, torch.ones_like(variance)))
    inner = [nn.Linear(sample.shape[1], HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS), nn.ReLU()]
    return nn.Sequential(scale, *inner, nn.Linear(HIDDEN_UNITS, COMMON_FEATURES))


def domain_features(net: Any, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return features of rows of both domains."""
    if "target_features" in net:
        return net["features"](source), net["target_features"](target)
    source_features, target_features = net["features"](torch.cat([source, target])).split([len(source), len(target)])
    return source_features, target_features


def target_encoder(net: Any) -> Any:
    """Return the part that computes features of the target."""
    return net["target_features"] if "target_features" in net else net["features"]


def small_cnn(width: int) -> Any:
    """Return features for small images: three convolutions with 16 to 64 channels, then ``width`` features."""
    layers: list[Any] = []
    channels = 3
    for next_channels in (16, 32, 64):
        layers += [
            nn.Conv2d(channels, next_channels, 3, padding=1),
            nn.GroupNorm(4, next_channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = next_channels
    pooled = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels * 16, width), nn.ReLU()]
    return nn.Sequential(*layers, *pooled)


def residual_network(name: str, width: int, weights: Path | None) -> Any:
    """Return a ResNet with frozen batch normalization, followed by ``width`` features."""
    net = resnet.ResNet(name)
    if weights is not None:
        resnet.load_weights(net, name, weights)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(requires_grad=False)
            module.eval()  # train() must not be called on the whole network: it would re-enable batch statistics
    return nn.Sequential(net, nn.Linear(resnet.WIDTHS[name], width), nn.ReLU())


def backbone_parameters(net: Any) -> set[Any]:
    """Return the parameters that were trained elsewhere: those of a ResNet."""
    first = net["features"][0]
    return set(first.parameters()) if isinstance(first, resnet.ResNet) else set()


def normalize(images: Tensor) -> Tensor:
    """Return images (n, 3, s, s) of bytes as floats, normalized with ImageNet's statistics; columns are unchanged."""
    if images.dtype != torch.uint8:
        return images
    mean, deviation = imagenet_scale(images.device)
    return (images.float() / 255 - mean) / deviation


@functools.cache
def imagenet_scale(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations, (3, 1, 1) each; cached so that they are copied to a GPU once."""
    mean = torch.tensor([0.485, 0.456, 0.406], device=device)[:, None, None]
    return mean, torch.tensor([0.229, 0.224, 0.225], device=device)[:, None, None]
