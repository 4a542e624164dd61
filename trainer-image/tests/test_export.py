"""The exported graphs agree with PyTorch and Pillow, and say what they are."""

import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from deeptrain_trainer.augment import to_planes
from deeptrain_trainer.export import exported_model, model_graph, parity
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.models import BACKBONES, Classifier
from deeptrain_trainer.models.efficientnet_lite import EfficientNetLite0
from deeptrain_trainer.models.resnet import ResNet18
from deeptrain_trainer.preprocess import Preprocess, preprocess_graph

CONCEPTS = ["a", "b", "ü"]


def images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def resnet() -> tuple[Classifier, bytes]:
    torch.manual_seed(0)
    model = Classifier(ResNet18(32), 512, 3, dropout=0.0).eval()
    return model, model_graph(model, 32, True, CONCEPTS)


def test_model_onnx_takes_bytes_and_gives_scores_for_any_batch(
    resnet: tuple[Classifier, bytes],
) -> None:
    model, graph = resnet
    run = exported_model(graph, 1)
    for count in (1, 2, 5):
        report = parity(model, True, run, images(count, 32), 2)
        assert report["images"] == count and report["largestDifference"] < 1e-4
    together, alone = run(images(5, 32)), run(images(5, 32)[2:3])
    assert np.allclose(together[2], alone[0], atol=1e-6)


def test_model_onnx_is_one_plain_file_that_names_its_concepts(
    resnet: tuple[Classifier, bytes],
) -> None:
    proto = onnx.load_from_string(resnet[1])
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.key: json.loads(entry.value) for entry in proto.metadata_props} == {
        "concepts": CONCEPTS
    }
    assert [value.name for value in proto.graph.input] == ["pixels"]
    assert [value.name for value in proto.graph.output] == ["scores"]
    assert proto.opset_import[0].version >= 18
    assert all(not tensor.external_data for tensor in proto.graph.initializer)
    assert b".py" not in resnet[1]


def test_softmax_is_in_the_graph() -> None:
    torch.manual_seed(0)
    model = Classifier(EfficientNetLite0(64), 1280, 3, dropout=0.2).eval()
    run = exported_model(model_graph(model, 64, False, CONCEPTS), 1)
    assert np.allclose(run(images(2, 64)).sum(1), 1, atol=1e-5)
    assert parity(model, False, run, images(2, 64), 2)["largestDifference"] < 1e-4


def test_a_graph_that_disagrees_is_not_published(resnet: tuple[Classifier, bytes]) -> None:
    model, _ = resnet
    for wrong in (0.01, float("nan")):
        with pytest.raises(Failure, match="differ from PyTorch's") as refused:
            parity(
                model,
                True,
                lambda p, w=wrong: np.full((len(p), 3), w, np.float32),
                images(2, 32),
                2,
            )
        assert refused.value.reason == "ParityFailed"


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (37, 100), (375, 500), (900, 31), (224, 224)])
def test_preprocess_is_within_one_level_of_pillow(size: int, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
    got = Preprocess(size)(picture)
    assert got.shape == (size, size, 3)
    assert abs(got.astype(int) - want).max() <= 1


def test_preprocess_leaves_a_picture_of_its_size_as_it_is() -> None:
    picture = images(1, 64)[0]
    assert np.array_equal(Preprocess(64)(picture), picture)


def test_preprocess_onnx_is_the_same_bytes_every_time() -> None:
    first, second = (preprocess_graph(64).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_a_convolution_and_its_batch_norm_are_one_node_with_constant_weights() -> None:
    model = Classifier(EfficientNetLite0(64), 1280, 2, dropout=0.0)
    graph = onnx.load_from_string(model_graph(model, 64, True, ["a", "b"])).graph
    constants = {tensor.name for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 49
    assert all(set(node.input[1:]) <= constants for node in convolutions)
    assert not {"BatchNormalization", "Sqrt", "Rsqrt"} & {node.op_type for node in graph.node}


@pytest.mark.parametrize(
    ("name", "size"), [("convnext-tiny", 64), ("vit-small", 96), ("resnet50", 64)]
)
def test_every_backbone_is_exported_as_it_is_trained(name: str, size: int) -> None:
    """Those whose graphs no other test makes."""
    torch.manual_seed(0)
    backbone = BACKBONES[name]
    model = Classifier(backbone.build(size), backbone.features, 3, backbone.dropout).eval()
    pixels = images(5, size)
    pixels[1] //= 8
    with (
        torch.no_grad()
    ):  # an untrained head gives nearly the same for all, and random features may be large
        features = model.base(to_planes(torch.from_numpy(pixels)))
        model.head.weight.normal_().div_((features - features.mean(0)).norm(dim=1).mean())
        model.head.bias.copy_(-model.head.weight @ features.mean(0))
    run = exported_model(model_graph(model, size, True, CONCEPTS), 1)
    assert np.ptp(run(pixels), axis=0).max() > 0.1
    for batch in (1, 2):
        assert parity(model, True, run, pixels, batch)["largestDifference"] < 1e-4
