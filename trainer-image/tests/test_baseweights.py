"""Weights that a training begins with: from files, addresses and other versions, hostile ones among them."""

import hashlib
import json
import os
import pickle
import shutil
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from dataset.test_fetch import Handler, serving
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.models import resnet18

from deeptrain_trainer import basefetch, baseweights
from deeptrain_trainer.artifact import document, publish
from deeptrain_trainer.basefetch import fetched_weights
from deeptrain_trainer.baseweights import load_base_into
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.models.resnet import ResNet18
from deeptrain_trainer.run import Base


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], Base]:
    """A base by its address whose file is there already."""

    def keep(content: bytes) -> Base:
        digest = digest_of(content)
        (tmp_path / f"{digest[7:]}.safetensors").write_bytes(content)
        return Base("http", digest, "http://127.0.0.1:1/weights", tmp_path)

    return keep


def published(folder: Path, tensors: dict[str, Tensor]) -> Base:
    """A version that was trained."""
    files = {"weights.safetensors": save(tensors), "concepts.json": document(["a"])}
    artifact = publish(folder, files, {"template": "visual-classifier/resnet18"}, 1)
    return Base("model", artifact["digest"], path=folder / "artifact")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model."])
def test_weights_by_the_names_of_torchvision_are_loaded(
    given: Callable[[bytes], Base], prefix: str
) -> None:
    theirs = resnet18(weights=None).state_dict()
    base = given(save({prefix + name: value for name, value in theirs.items()}))
    backbone = ResNet18(64)
    assert load_base_into(backbone, base)[:2] == (120, 0)
    assert torch.equal(backbone.net.layer4[1].conv2.weight, theirs["layer4.1.conv2.weight"])


def test_the_backbone_of_another_version_is_loaded_and_its_head_is_not(tmp_path: Path) -> None:
    trained = ResNet18(64)
    tensors = {f"base.{name}": value for name, value in weights(trained).items()}
    base = published(tmp_path, {**tensors, "head.weight": torch.zeros(3, 512)})
    backbone = ResNet18(64)
    assert load_base_into(backbone, base)[:2] == (120, 0)
    assert torch.equal(backbone.net.conv1.weight, trained.net.conv1.weight)


def test_a_few_tensors_of_another_shape_stay_as_they_were(given: Callable[[bytes], Base]) -> None:
    tensors = weights(ResNet18(32))  # its stem is another one
    begun = load_base_into(ResNet18(64), given(save(tensors)))
    assert begun == (119, 1, {"net.conv1.weight"})


def test_another_architecture_is_refused_with_what_is_missing(
    given: Callable[[bytes], Base],
) -> None:
    tensors = {name: value for name, value in weights(ResNet18(64)).items() if "layer1" in name}
    with pytest.raises(Failure, match=r"only 20 of the 100 tensors .*missing: net.conv1.weight"):
        load_base_into(ResNet18(64), given(save(tensors)))


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pickle.dumps({"weight": 1}, protocol=2), id="pickle"),
        pytest.param(b"PK\x03\x04" + b"\0" * 64, id="a .pt file"),
        pytest.param(b"", id="nothing"),
        pytest.param(header(b"{}", 1 << 40), id="a header of a terabyte"),
        pytest.param(
            header(b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}') + b"\0" * 8,
            id="short data",
        ),
        pytest.param(
            header(
                b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
            )
            + b"\0" * 12,
            id="overlapping",
        ),
        pytest.param(
            header(b'{"w":{"dtype":"F32","shape":[9000000000],"data_offsets":[0,4]}}') + b"\0" * 4,
            id="a shape that is not its size",
        ),
    ],
)
def test_what_is_not_safetensors_is_refused(given: Callable[[bytes], Base], content: bytes) -> None:
    with pytest.raises(Failure, match="only safetensors files are accepted") as refused:
        load_base_into(ResNet18(64), given(content))
    assert refused.value.reason == "BaseIncompatible" and refused.value.exit_code == 42


def test_weights_that_are_not_finite_are_refused(given: Callable[[bytes], Base]) -> None:
    tensors = weights(ResNet18(64))
    tensors["net.conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(Failure, match=r"net.conv1.weight .* not finite") as refused:
        load_base_into(ResNet18(64), given(save(tensors)))
    assert refused.value.reason == "BaseIncompatible"


def test_a_version_whose_files_were_changed_is_refused(tmp_path: Path) -> None:
    base = published(tmp_path, weights(ResNet18(64)))
    (base.path / "weights.safetensors").write_bytes(save(weights(ResNet18(64))))
    with pytest.raises(Failure, match=r"spec.base.modelRef: .*not what was published") as refused:
        load_base_into(ResNet18(64), base)
    assert refused.value.reason == "BaseUnavailable"
    manifest = json.loads((base.path / "manifest.json").read_bytes())
    (base.path / "manifest.json").write_text(json.dumps({**manifest, "files": []}))
    with pytest.raises(Failure, match="its manifest is not"):
        load_base_into(ResNet18(64), base)


def test_without_a_base_all_is_new() -> None:
    assert load_base_into(ResNet18(64), Base("none"))[:2] == (0, 120)
    assert not baseweights.is_pretrained(Base("none"))


def test_a_file_is_fetched_once_and_kept_under_its_digest(tmp_path: Path) -> None:
    content = save({"w": torch.ones(3)})
    with serving(lambda handler, _: Handler.reply(handler, 200, content)) as server:
        base = Base("http", digest_of(content), server.url, tmp_path)
        assert fetched_weights(base, allow_loopback=True).read_bytes() == content
        assert fetched_weights(base, allow_loopback=True).read_bytes() == content
        assert len(server.requests) == 1
        # What was damaged on the disk is fetched again.
        next(tmp_path.iterdir()).write_bytes(b"damaged")
        assert fetched_weights(base, allow_loopback=True).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [f"{digest_of(content)[7:]}.safetensors"]


def test_another_file_than_the_one_that_was_named_is_refused_and_not_kept(tmp_path: Path) -> None:
    with serving(lambda handler, _: Handler.reply(handler, 200, b"another")) as server:
        base = Base("http", digest_of(b"named"), server.url, tmp_path)
        with pytest.raises(
            Failure, match=r"spec.base.http: .* as spec.base.http.sha256 says"
        ) as refused:
            fetched_weights(base, allow_loopback=True)
    assert refused.value.reason == "BaseUnavailable" and refused.value.exit_code == 42
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_is_asked_again_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basefetch, "_LOOK_SECONDS", 60.0)
    monkeypatch.setattr("deeptrain_trainer.basefetch.time.sleep", lambda _seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base = Base("http", digest_of(b""), f"http://127.0.0.1:{port}/w", tmp_path)
    with pytest.raises(Failure, match=r"spec.base.http: ") as down:
        fetched_weights(base, allow_loopback=True)
    assert down.value.reason == "BaseUnavailable" and down.value.exit_code == 1


def test_a_full_disk_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = save({"w": torch.ones(3)})
    usage = type(shutil.disk_usage(tmp_path))(1, 1, 0)
    monkeypatch.setattr("deeptrain_trainer.dataset.fetch.shutil.disk_usage", lambda _path: usage)
    with serving(lambda handler, _: Handler.reply(handler, 200, content)) as server:
        base = Base("http", digest_of(content), server.url, tmp_path)
        with pytest.raises(Failure) as full:
            fetched_weights(base, allow_loopback=True)
    assert full.value.reason == "DiskFull" and full.value.exit_code == 1


def test_a_stop_breaks_a_download_off_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = save({"w": torch.ones(100_000)})
    monkeypatch.setattr(basefetch, "fetched_weights", by_loopback(fetched_weights))
    with serving(lambda handler, _: Handler.reply(handler, 200, content)) as server:
        base = Base("http", digest_of(content), server.url, tmp_path)
        with pytest.raises(Stopped):
            load_base_into(ResNet18(64), base, stop)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stop_is_heard_between_two_tries(tmp_path: Path) -> None:
    with serving(lambda handler, _: Handler.reply(handler, 503, b"")) as server:
        base = Base("http", digest_of(b""), server.url, tmp_path)
        with pytest.raises(Stopped):
            fetched_weights(base, stop, allow_loopback=True)
    assert len(server.requests) == 1


def stop() -> None:
    raise Stopped


def by_loopback(fetched: Callable[..., Path]) -> Callable[..., Path]:
    return lambda *given: fetched(*given, allow_loopback=True)


def test_what_killed_downloads_left_is_swept_after_a_day(tmp_path: Path) -> None:
    content = save({"w": torch.ones(3)})
    old, young = (tmp_path / f".{'0' * 64}-1-{name}" for name in ("0123abcd", "4567abcd"))
    kept, foreign = tmp_path / f"{'0' * 64}.safetensors", tmp_path / ".other-1-0123abcd"
    for path in (old, young, kept, foreign):
        path.write_bytes(b"half")
        age = 23 * 3600 if path == young else 25 * 3600
        os.utime(path, (time.time() - age,) * 2)
    with serving(lambda handler, _: Handler.reply(handler, 200, content)) as server:
        base = Base("http", digest_of(content), server.url, tmp_path)
        whole = fetched_weights(base, allow_loopback=True)
    assert set(tmp_path.iterdir()) == {young, kept, foreign, whole}


def test_a_file_is_mapped_and_not_read(
    given: Callable[[bytes], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = given(save(weights(ResNet18(64))))

    def refuse(_path: Path) -> bytes:
        raise AssertionError("read into memory")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert load_base_into(ResNet18(64), base)[:2] == (120, 0)


def test_an_address_of_this_machine_is_refused(tmp_path: Path) -> None:
    base = Base("http", digest_of(b""), "http://169.254.169.254/w", tmp_path)
    with pytest.raises(Failure, match=r"spec.base.http: "):
        fetched_weights(base)
