"""R0 and R1: torchvision's reference recipe (references/classification), as it ships and as a good engineer tunes it.

| | R0 | R1 |
|---|---|---|
| pictures | ImageFolder, decoded by Pillow at each access | decoded once to uint8 tensors in memory |
| transforms | on Pillow images, crops of .08 to 1 of the area | v2 on uint8 tensors, crops of .35 to 1 |
| floats | normalised picture by picture in the workers | the batch, in the training process |
| layout, precision | NCHW, fp32 | channels-last, bf16 where the device has it and the network gains |
| loader | workers made anew for each epoch | persistent workers, pinned memory on a GPU |
| optimiser | SGD with momentum .9, weight decay 1e-4 | the same with Nesterov momentum, fused |
| pretrained batch-norm | trained | frozen |
| checkpoint | two files at each epoch | one |

Both make the same steps on the same pictures with the same learning rate, batch size and threads as ours.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from deeptrain_trainer.bases import base_folder
from deeptrain_trainer.device import Device, choose_device
from deeptrain_trainer.models import BACKBONES
from deeptrain_trainer.models.efficientnet_lite import EfficientNetLite0

from .baton import Baton
from .case import R1, Case

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# EfficientNet-Lite0 normalises by itself and takes pixels from 0 to 255.
_PIXEL_MEAN, _PIXEL_STD = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
# The reference evaluates the middle of a picture: 224 of 256.
_EVAL_RESIZE = 256 / 224
_SMALLEST_CROP = 0.35
_EVAL_BATCH = 128
Loader = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Side:
    """What R0 and R1 do differently."""

    case: Case
    tuned: bool
    device: Device

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of pixels from 0 to 1."""
        is_lite0 = self.case.backbone == "efficientnet-lite0"
        return (_PIXEL_MEAN, _PIXEL_STD) if is_lite0 else (_MEAN, _STD)

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for R1, where it pays."""
        kind, precision = self.device.torch_device.type, self.device.precision
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16")

    def to_floats(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """On the device; R1's bytes become normalised floats here."""
        device = self.device.torch_device
        images = images.to(device, non_blocking=True)
        targets = targets.to(device, non_blocking=True)
        if self.tuned:
            mean, std = (
                torch.tensor(v, device=device).view(1, 3, 1, 1) for v in self.normalisation
            )
            images = images.contiguous(memory_format=torch.channels_last).float()
            images = images.sub_(mean * 255).div_(std * 255)
        return images, targets


class DecodedPictures(Dataset[tuple[Tensor, Tensor]]):
    """R1's pictures: uint8 [3, H, W], decoded once; transformed at each access."""

    def __init__(self, folder: Path, transform: v2.Transform) -> None:
        listed = ImageFolder(str(folder))
        self._transform = transform
        self._images = [
            decode_image(path, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            for path, _ in listed.samples
        ]
        self._targets = torch.tensor(listed.targets)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image: Tensor = self._transform(self._images[index])
        return image, self._targets[index]


def _transforms(side: Side) -> tuple[Any, Any]:
    """Of training and of evaluation."""
    size = side.case.image_size
    resized = round(size * _EVAL_RESIZE)
    if side.tuned:
        return (
            v2.Compose(
                [
                    v2.RandomResizedCrop(size, scale=(_SMALLEST_CROP, 1), antialias=True),
                    v2.RandomHorizontalFlip(0.5),
                ]
            ),
            v2.Compose([v2.Resize(resized, antialias=True), v2.CenterCrop(size)]),
        )
    floats = [
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize(*side.normalisation),
    ]
    return (
        transforms.Compose(
            [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(0.5), *floats]
        ),
        transforms.Compose([transforms.Resize(resized), transforms.CenterCrop(size), *floats]),
    )


def _loaders(side: Side) -> tuple[Loader, Loader]:
    case = side.case
    is_gpu = side.device.torch_device.type == "cuda"
    loaders = []
    for name, transform in zip(("train", "validation"), _transforms(side), strict=True):
        folder, is_train = case.folder / name, name == "train"
        data: Dataset[Any] = (
            DecodedPictures(folder, transform)
            if side.tuned
            else ImageFolder(str(folder), transform)
        )
        loaders.append(
            DataLoader(
                data,
                batch_size=_EVAL_BATCH if side.tuned and not is_train else case.batch_size,
                shuffle=is_train,
                num_workers=case.workers,
                persistent_workers=side.tuned,
                pin_memory=is_gpu,
            )
        )
    return loaders[0], loaders[1]


class _Lite0(nn.Module):
    """torchvision has no EfficientNet-Lite0: ours, with the same head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.base = EfficientNetLite0(case.image_size)
        if case.base != "none":
            from safetensors.torch import load_file

            self.base.load_state_dict(load_file(base_folder() / f"{case.base}.safetensors"))
        backbone = BACKBONES[case.backbone]
        self.dropout = nn.Dropout(backbone.dropout)
        self.head = nn.Linear(backbone.features, len(case.concepts))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.base(pixels)))
        return logits


def _build(side: Side) -> nn.Module:
    case = side.case
    if case.backbone == "efficientnet-lite0":
        model: nn.Module = _Lite0(case)
    elif case.base == "none":
        model = models.get_model(case.backbone, weights=None, num_classes=len(case.concepts))
    else:
        raise ValueError(f"{case.backbone} has no bundled base")
    model = model.to(side.device.torch_device)
    return model.to(memory_format=torch.channels_last) if side.tuned else model


def _set_training(side: Side, model: nn.Module) -> None:
    model.train()
    if side.tuned and side.case.base != "none":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def train_epoch(
    side: Side, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
) -> int:
    """One epoch as the reference's train_one_epoch makes it; the number of images."""
    _set_training(side, model)
    images_seen = 0
    for batch in loader:
        images, targets = side.to_floats(*batch)
        with side.autocast():
            output = model(images)
            loss = F.cross_entropy(output, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images_seen += len(targets)
        if not side.tuned:  # the reference logs loss and accuracy of each step
            loss.item()
            output.topk(min(5, output.shape[1])).indices.eq(targets[:, None]).sum().item()
    if side.device.torch_device.type == "cuda":
        torch.cuda.synchronize()
    return images_seen


@torch.inference_mode()
def evaluate(side: Side, model: nn.Module, loader: Loader) -> float:
    """top1 of the validation pictures."""
    model.eval()
    right = seen = 0
    for batch in loader:
        images, targets = side.to_floats(*batch)
        with side.autocast():
            output = model(images)
        right += int((output.argmax(1) == targets).sum())
        seen += len(targets)
    return right / seen


def _save(side: Side, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state, side.case.work / "checkpoint.pth")
    if not side.tuned:
        torch.save(state, side.case.work / "model.pth")


def _epochs(side: Side, baton: Baton) -> Iterator[tuple[int, float]]:
    """Images and top1 of each epoch, as they are made."""
    case = side.case
    train, validation = _loaders(side)
    model = _build(side)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=case.lrate,
        momentum=0.9,
        weight_decay=1e-4,
        nesterov=side.tuned,
        fused=side.tuned,
    )
    baton.ready(side.device.name, side.device.precision)
    for epoch in range(case.epochs):
        images = train_epoch(side, model, optimizer, train)
        baton.trained()
        top1 = evaluate(side, model, validation)
        _save(side, model, optimizer, epoch)
        yield images, top1


def main() -> None:
    """Arguments: when this process was made, the case, and R0 or R1."""
    baton = Baton(float(sys.argv[1]))
    case = Case.from_json(json.loads(sys.argv[2]))
    case.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    bf16_on_cpu = BACKBONES[case.backbone].bf16_on_cpu
    device = choose_device(case.gpus, case.threads, bf16_on_cpu)
    if not (sys.argv[3] == R1 and case.tuned_bf16):
        device = replace(device, precision="fp32")
    for images, top1 in _epochs(Side(case, sys.argv[3] == R1, device), baton):
        baton.finish(images, top1)


if __name__ == "__main__":
    main()
