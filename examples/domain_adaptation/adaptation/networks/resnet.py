"""ResNet-18 and ResNet-50 (He et al., 2016) without their classifier, under the names of torchvision's state dicts.

Files of weights that were trained elsewhere can be read without torchvision. As there, a bottleneck's stride is in its
3 x 3 convolution.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adaptation.image_folders import DataError

if TYPE_CHECKING:
    from torch import Tensor

#: Kernel sizes of a block, and blocks of each layer.
STRUCTURES = {"resnet18": ((3, 3), (2, 2, 2, 2)), "resnet50": ((1, 3, 1), (3, 4, 6, 3))}
#: Number of features after the last layer.
WIDTHS = {"resnet18": 512, "resnet50": 2048}


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> Any:
    """Return a convolution that keeps the size of its input, divided by the stride."""
    return nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)


class Block(nn.Module):  # type: ignore[misc]
    """Convolutions, each with batch normalization, whose result is added to their input."""

    def __init__(self, channels: int, width: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.count = len(kernels)
        # A bottleneck's last convolution widens its output fourfold.
        out_channels = width * (4 if kernels[-1] == 1 else 1)
        previous = channels
        for number, kernel in enumerate(kernels, 1):
            next_channels = out_channels if number == self.count else width
            own_stride = stride if number - 1 == kernels.index(3) else 1
            setattr(self, f"conv{number}", convolution(previous, next_channels, kernel, own_stride))
            setattr(self, f"bn{number}", nn.BatchNorm2d(next_channels))
            previous = next_channels
        self.downsample = None
        if stride != 1 or channels != out_channels:
            self.downsample = nn.Sequential(
                convolution(channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
            )
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = images if self.downsample is None else self.downsample(images)
        for number in range(1, self.count + 1):
            images = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(images))
            if number < self.count:
                images = torch.relu(images)
        return torch.relu(images + shortcut)


class ResNet(nn.Module):  # type: ignore[misc]
    """Features of images, (n, :data:`WIDTHS`)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        kernels, counts = STRUCTURES[name]
        self.conv1 = convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, count in enumerate(counts, 1):
            blocks = []
            for index in range(count):
                stride = 2 if index == 0 and number > 1 else 1
                blocks.append(Block(channels, 32 * 2**number, kernels, stride))
                channels = blocks[-1].out_channels
            setattr(self, f"layer{number}", nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> Tensor:
        """Return features of images (n, 3, height, width)."""
        images = torch.relu(self.bn1(self.conv1(images)))
        images = nn.functional.max_pool2d(images, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            images = layer(images)
        return images.mean(dim=(2, 3))


def load_weights(net: Any, name: str, path: Path) -> None:
    """Load a state dict of torchvision's layout; its classifier (``fc``) is not used.

    :raises DataError: if the file cannot be read, or has other names or shapes.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise DataError(f"{path}: not a file of weights ({type(error).__name__})") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise DataError(f"{path}: not a state dict (names and tensors), such as torchvision's of {name}")
    shapes = {key: tuple(value.shape) for key, value in weights.items() if not key.startswith("fc.")}
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    # Files from before PyTorch 0.4.1 have no count of batches, which frozen normalization does not use.
    required = {key for key in expected if not key.endswith("num_batches_tracked")}
    differing = sorted((required - shapes.keys()) | {key for key in shapes if shapes[key] != expected.get(key)})
    if differing:
        key = differing[0]
        raise DataError(
            f"{path}: not {name} in torchvision's layout: {key} is {shapes.get(key, 'missing')}, "
            f"expected {expected.get(key, 'no such name')} ({len(differing)} of {len(expected)} differ)"
        )
    net.load_state_dict({key: weights[key] for key in shapes}, strict=False)
