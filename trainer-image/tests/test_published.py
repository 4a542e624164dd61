"""Weights by the names and shapes of those who publish them: timm's files, and position embeddings of another size."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save
from test_baseweights import digest_of
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torchvision.models import convnext_tiny
from torchvision.models.detection import fasterrcnn_resnet50_fpn, retinanet_resnet50_fpn

from deeptrain_trainer.baseweights import load_base_into
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.models import BACKBONES
from deeptrain_trainer.models.resnet import MEAN, STD
from deeptrain_trainer.models.vit_small import ViTSmall, positions_for
from deeptrain_trainer.run import Base


def kept(folder: Path, tensors: dict[str, Tensor]) -> Base:
    """A base by its address whose file is there already."""
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    digest = digest_of(content)
    (folder / f"{digest[7:]}.safetensors").write_bytes(content)
    return Base("http", digest, "http://127.0.0.1:1/weights", folder)


def of_timm(name: str, **options: int) -> nn.Module:
    """With its classifier, as files have it, and weights that all matter."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "theirs", "options"),
    [
        ("convnext-tiny", "convnext_tiny", {}),
        ("vit-small", "vit_small_patch16_224", {"img_size": 96}),
        ("resnet18", "resnet18", {}),
        ("resnet50", "resnet50", {}),
    ],
)
def test_weights_of_timm_compute_what_they_compute_there(
    tmp_path: Path, backbone: str, theirs: str, options: dict[str, int]
) -> None:
    reference = of_timm(theirs, **options)
    base = kept(tmp_path, reference.state_dict())
    ours = BACKBONES[backbone].build(96).eval()
    assert load_base_into(ours, base)[:2] == (len(ours.state_dict()), 0)
    pixels = torch.randint(0, 256, (2, 3, 96, 96)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        features = ours(pixels)
        maps = reference.forward_features((pixels - mean) / std)
        want = reference.forward_head(maps, pre_logits=True)
    assert features.std() > 0.01 and torch.allclose(features, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "theirs", "what"),
    [
        pytest.param("vit-small", "vit_small_patch8_224", "conv_proj.weight", id="other patches"),
        pytest.param("vit-small", "deit3_small_patch16_224", "pos_embed", id="no class token"),
        pytest.param("vit-small", "deit_small_distilled_patch16_224", "pos_embed", id="two tokens"),
        pytest.param("vit-small", "vit_small_patch16_36x1_224", "blocks.", id="deeper"),
        pytest.param("convnext-tiny", "convnext_small", "features.5.", id="deeper stages"),
        pytest.param("convnext-tiny", "convnextv2_tiny", "layer_scale", id="other blocks"),
        pytest.param("resnet50", "resnet101", "layer3.", id="a deeper ResNet"),
        pytest.param("resnet50", "resnet50d", "conv1.", id="another stem"),
        pytest.param("resnet50", "seresnet50", "layer1.0.se", id="attention"),
    ],
)
def test_what_computes_something_else_is_refused(
    tmp_path: Path, backbone: str, theirs: str, what: str
) -> None:
    base = kept(tmp_path, timm.create_model(theirs).state_dict())
    ours = BACKBONES[backbone].build(224)
    with pytest.raises(Failure, match="choose a base of the same architecture") as refused:
        load_base_into(ours, base)
    assert refused.value.reason == "BaseIncompatible" and what in refused.value.message


@pytest.mark.parametrize("prefix", ["net.", "base.net.", "module.net.", "backbone.body."])
def test_a_deeper_network_is_refused_under_any_prefix(tmp_path: Path, prefix: str) -> None:
    theirs = timm.create_model("resnet34").state_dict()
    base = kept(tmp_path, {prefix + name: tensor for name, tensor in theirs.items()})
    with pytest.raises(
        Failure, match=r"layers that this template's backbone does not have \(.*layer"
    ):
        load_base_into(BACKBONES["resnet18"].build(64), base)


def test_weights_of_a_detector_of_torchvision_begin_its_backbone(tmp_path: Path) -> None:
    ours = BACKBONES["resnet50"].build(64)
    for detector in (retinanet_resnet50_fpn, fasterrcnn_resnet50_fpn):
        whole = detector(weights=None, weights_backbone=None).state_dict()
        # As they are published: frozen batch-norms count no batches.
        theirs = {n: v for n, v in whole.items() if not n.endswith("num_batches_tracked")}
        assert load_base_into(ours, kept(tmp_path, theirs))[:2] == (265, 53)
        want = theirs["backbone.body.layer4.2.conv3.weight"]
        assert torch.equal(ours.net.layer4[2].conv3.weight, want)


def test_weights_by_the_names_of_torchvision_are_loaded(tmp_path: Path) -> None:
    theirs = convnext_tiny(weights=None).state_dict()
    ours = BACKBONES["convnext-tiny"].build(64)
    assert load_base_into(ours, kept(tmp_path, theirs))[:2] == (
        len(theirs) - 2,
        0,
    )  # its classifier


def test_position_embeddings_of_another_size_are_interpolated(tmp_path: Path) -> None:
    trained = ViTSmall(96)
    with torch.no_grad():
        trained.net.encoder.pos_embedding.normal_()
    given = trained.net.encoder.pos_embedding.detach()
    tensors = {f"base.{name}": tensor for name, tensor in trained.state_dict().items()}
    ours = ViTSmall(128)
    assert load_base_into(ours, kept(tmp_path, tensors))[:2] == (len(tensors), 0)
    want = resample_abs_pos_embed(given, [8, 8], num_prefix_tokens=1)
    assert torch.allclose(ours.net.encoder.pos_embedding, want, atol=1e-5)
    assert ours(torch.zeros(1, 3, 128, 128)).shape == (1, 384)


def test_position_embeddings_of_the_same_size_stay_bit_by_bit() -> None:
    embeddings = torch.randn(1, 37, 384)
    assert positions_for(embeddings, 6) is embeddings


@pytest.mark.parametrize("shape", [(1, 36, 384), (2, 37, 384), (37, 384), (1, 0, 384), (1, 1, 384)])
def test_what_is_no_square_of_positions_is_left_alone(shape: tuple[int, ...]) -> None:
    embeddings = torch.randn(shape)
    assert positions_for(embeddings, 8) is embeddings
