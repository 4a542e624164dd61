"""Architectures: built for their image size, the bundled base loaded as it was trained."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from deeptrain_trainer.bases import BUNDLED, base_folder, packaged_weights, write_bases
from deeptrain_trainer.baseweights import base_tensors
from deeptrain_trainer.engine import Training, run_training
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.models import BACKBONES, FROZEN_BACKBONES, Classifier
from deeptrain_trainer.models.efficientnet_lite import ConvNorm, EfficientNetLite0
from deeptrain_trainer.models.resnet import ResNet18
from deeptrain_trainer.optimizer import Recipe, build_optimizer
from deeptrain_trainer.run import Base, Hyperparameters
from deeptrain_trainer.sharded import SharedBatchNorm2d, share_modules
from deeptrain_trainer.share import Share

# Those of api/bases.ts.
DIGESTS = dict(
    re.findall(
        r'"(efficientnet-lite\d)": "(sha256:[0-9a-f]{64})"',
        (Path(__file__).resolve().parents[2] / "api/bases.ts").read_text(),
    )
)
LITE0_DIGEST = "sha256:af62fb93f7bca7b284be3d80df1c51c17ef79365e0c5c25c9d38ef9797986e71"
LITE0 = {
    "template": "visual-classifier/efficientnet-lite0",
    "image_size": 64,
    "base": {"id": "efficientnet-lite0", "digest": LITE0_DIGEST},
}


def cells_of(module: nn.Module, image_size: int) -> int:
    """The side of the last feature map."""
    sides: list[int] = []
    for child in module.modules():
        if isinstance(child, nn.Conv2d | ConvNorm):
            child.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    module.eval()(torch.zeros(1, 3, image_size, image_size))
    return sides[-1]


@pytest.mark.parametrize(("image_size", "stride"), [(32, 16), (64, 32), (96, 32), (224, 32)])
def test_resnet18_is_built_for_its_image_size(image_size: int, stride: int) -> None:
    assert cells_of(ResNet18(image_size), image_size) * stride == image_size


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("resnet50", 64), ("convnext-tiny", 64), ("vit-small", 96), ("vit-small", 112)],
)
def test_a_backbone_has_the_features_that_its_table_says(name: str, image_size: int) -> None:
    backbone = BACKBONES[name]
    features = backbone.build(image_size)(torch.rand(2, 3, image_size, image_size) * 255)
    assert features.shape == (2, backbone.features)


@pytest.mark.parametrize("image_size", [64, 96, 224])
def test_efficientnet_lite0_is_built_for_its_image_size(image_size: int) -> None:
    assert cells_of(EfficientNetLite0(image_size), image_size) * 32 == image_size


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("efficientnet-lite0", 64),
        ("efficientnet-lite0", 160),
        ("efficientnet-lite1", 240),
        ("efficientnet-lite2", 260),
    ],
)
def test_a_bundled_base_computes_what_the_package_that_ships_it_computes(
    name: str, image_size: int
) -> None:
    # The package pads for the size that it is told, instead of the picture's.
    reference = EfficientNet.from_pretrained(
        name, weights_path=str(packaged_weights(name)), image_size=image_size
    ).eval()
    ours = (BACKBONES | FROZEN_BACKBONES)[name].build(image_size).eval()
    ours.load_state_dict(base_tensors(Base(name, DIGESTS[name])))
    pixels = torch.randint(0, 256, (2, 3, image_size, image_size)).float()
    with torch.no_grad():
        want = reference.extract_features((pixels - 127) / 128).mean((2, 3))
        assert torch.allclose(ours(pixels), want, atol=1e-4)


def test_whoever_trains_may_read_the_bundled_bases(tmp_path: Path) -> None:
    write_bases(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{name}.safetensors" for name in BUNDLED]
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o644"}


def test_a_base_of_another_digest_is_refused() -> None:
    with pytest.raises(Failure, match="use the trainer image that it was made with") as refused:
        base_tensors(Base("efficientnet-lite0", "sha256:" + "0" * 64))
    assert refused.value.reason == "BaseUnavailable"
    assert refused.value.exit_code == 42


def test_a_base_that_is_not_in_the_image_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (base_folder() / "efficientnet-lite0.safetensors").exists()
    monkeypatch.setenv("DEEPTRAIN_BASES", str(tmp_path))
    with pytest.raises(Failure, match="cannot be read from this trainer image"):
        base_tensors(Base("efficientnet-lite0", LITE0_DIGEST))


def test_a_pretrained_base_keeps_its_statistics_and_trains_its_affine(
    prepared: Callable[..., Training],
) -> None:
    model = prepared(**LITE0).model.train()
    norms = [m for m in model.base.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(not m.training and m.weight.requires_grad for m in norms)
    loaded = base_tensors(Base("efficientnet-lite0", LITE0_DIGEST))
    state: dict[str, Tensor] = model.base.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.items())


def test_without_a_base_batch_norm_is_trained(prepared: Callable[..., Training]) -> None:
    norms = [m for m in prepared().model.train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(m.training for m in norms)


def test_a_frozen_base_is_in_evaluation_mode_and_its_head_is_not(
    prepared: Callable[..., Training],
) -> None:
    template = "visual-classifier/convnext-tiny"  # has stochastic depth
    frozen = prepared(template=template, image_size=64, base_gradient_multiplier=0).model.train()
    assert not any(module.training for module in frozen.base.modules())
    assert frozen.training and frozen.get_submodule("head").training
    pixels = torch.rand(2, 3, 64, 64) * 255
    assert torch.equal(frozen.base(pixels), frozen.base(pixels))
    free = prepared(template=template, image_size=64, base_gradient_multiplier=0.1).model.train()
    assert all(module.training for module in free.base.modules())


def test_a_template_that_this_image_does_not_have_is_refused(
    prepared: Callable[..., Training],
) -> None:
    with pytest.raises(Failure, match="use a newer one"):
        prepared(template="visual-classifier/resnet999")


def _gradients(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    output = model(pixels)
    model.zero_grad()
    output.square().sum().backward()
    return [output.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


class _Plain(ConvNorm):
    """What it computes, as PyTorch's own modules do it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(F.pad(x, self.padding) if self.pads else x))
        return F.relu6(x) if self.act else x


@pytest.mark.parametrize("statistics", ["frozen", "trained"])
@pytest.mark.parametrize(("kernel", "stride", "act"), [(3, 2, True), (5, 1, True), (1, 1, False)])
def test_a_convolution_with_batch_norm_has_the_gradients_of_its_parts(
    statistics: str, kernel: int, stride: int, act: bool
) -> None:
    torch.manual_seed(1)
    fast = ConvNorm((4, 4), 8, kernel, stride, act=act).double()
    norm = fast.norm
    for values in (norm.weight.data, norm.running_var):
        assert values is not None
        values.uniform_(0.5, 2)
    norm.bias.data.uniform_(-4, 4)
    if statistics == "frozen":
        norm.eval()
    plain = deepcopy(fast)
    plain.__class__ = _Plain
    pixels = 3 * torch.randn(6, 4, 8, 8, dtype=torch.double)
    for got, want in zip(_gradients(fast, pixels), _gradients(plain, pixels), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    fast.eval()
    torch.testing.assert_close(fast(pixels), plain.eval()(pixels), rtol=1e-9, atol=1e-9)


def test_a_pretrained_lite0_keeps_one_map_of_each_convolution_for_the_backward_pass() -> None:
    model = EfficientNetLite0(64).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    maps: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and tensor.shape[0] == 3:
            maps[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(3, 3, 64, 64))
    blocks = [module for module in model.modules() if isinstance(module, ConvNorm)]
    # Its input; where it pads, the padded one too.
    assert len(maps) <= len(blocks) + sum(block.pads for block in blocks) + 1


def test_statistics_of_random_weights_follow_a_short_training(
    prepared: Callable[..., Training],
) -> None:
    t = prepared(
        template="visual-classifier/efficientnet-lite0",
        image_size=64,
        lrate=0.02,
        num_epochs=10,
        init_epochs=8,
    )
    run_training(t)
    assert t.state.history[-1]["validation"]["top1"] >= 0.9


@pytest.mark.parametrize("multiplier", [0.1, 0.0])
def test_what_a_pretrained_base_lacks_learns_as_the_new_parts_do(multiplier: float) -> None:
    """A detector on EfficientNet-Lite0 has no last convolution: a classifier that begins with it has a new one."""
    model = Classifier(EfficientNetLite0(64), 1280, 3, dropout=0.0)
    given = {name for name in model.base.state_dict() if not name.startswith("head.")}
    missing = frozenset(model.base.state_dict()) - given
    model.settle_base(is_pretrained=True, multiplier=multiplier, missing=missing)
    new, known = model.base.get_submodule("head"), model.base.get_submodule("stem")
    share_modules(model, Share(rank=1, processes=2), "cpu")
    model.train()
    assert isinstance(new.norm, SharedBatchNorm2d) and new.norm.training
    assert not isinstance(known.norm, SharedBatchNorm2d) and not known.norm.training
    assert all(p.requires_grad for p in new.parameters())
    assert all(p.requires_grad == (multiplier > 0) for p in known.parameters())
    hyperparameters = Hyperparameters(4, 0.1, 1, base_gradient_multiplier=multiplier)
    rates = {
        id(parameter): group["multiplier"]
        for group in build_optimizer(model, Recipe("SGD", 1e-4), hyperparameters).param_groups
        for parameter in group["params"]
    }
    assert {rates[id(p)] for p in [*new.parameters(), *model.head.parameters()]} == {1.0}
    assert {rates.get(id(p), 0.0) for p in known.parameters()} == {multiplier}
    model.eval()
    assert not new.norm.training
