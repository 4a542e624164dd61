"""`npm run bench:trainer`: how fast the trainer is, beside torchvision's reference (README.md here)."""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .case import Case, figures
from .folder import (
    TRAIN,
    VALIDATION,
    concepts_in,
    count_pictures,
    link_pictures,
    store_pictures,
)
from .pictures import write_pictures
from .race import run_case

# Of the backbones that race: weights to begin with, and a rate that suits them and batches of 64.
BACKBONES = {"resnet18": ("none", 0.025), "efficientnet-lite0": ("efficientnet-lite0", 0.003)}


def arguments(given: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="npm run bench:trainer --",
        description="Images per second and time to a fixed accuracy: this trainer beside torchvision's reference "
        "recipe, as it ships (R0) and well tuned (R1). Prints JSON.",
    )
    add = parser.add_argument
    add("--backbones", default=",".join(BACKBONES), help="of " + ", ".join(BACKBONES))
    add("--sizes", default="64", help="image_size of each case, such as 64,128,224")
    add("--batch", type=int, default=64)
    add("--rounds", type=int, default=6, help="epochs of each side, in turn; figures are medians")
    add("--train", type=int, default=1280, help="training pictures; fewer where --data has fewer")
    add("--validation", type=int, default=320, help="validation pictures")
    add("--top1", type=float, default=0.8, help="the accuracy that time is taken to")
    add("--lrate", type=float, help="learning rate; by default what suits the backbone")
    add("--base", help="none, or a bundled base; by default the backbone's where there is one")
    add("--data", type=Path, help="folder with train/<concept>/ and validation|val|test/<concept>/")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--workers", type=int, help="loader processes of R0 and R1; by default half of the threads")
    add("--r1-fp32", action="store_true", help="R1 in fp32, whatever the hardware has")
    add("--r1-huge-pages", action="store_true", help="R1 with THP_MEM_ALLOC_ENABLE, as ours is")
    add("--gpus", type=int, choices=(0, 1), default=int(Path("/dev/nvidia0").exists()))
    flags = parser.parse_args(given)
    unknown = set(flags.backbones.split(",")) - set(BACKBONES)
    if unknown:
        parser.error(f"--backbones: {', '.join(sorted(unknown))} is not of {', '.join(BACKBONES)}")
    return flags


def cases(flags: argparse.Namespace, work: Path) -> list[Case]:
    """Writes or links the pictures, stores them, and makes a case of each backbone and size."""
    folder = work / "pictures"
    if flags.data is None:
        write_pictures(folder, flags.train, flags.validation)
    else:
        link_pictures(flags.data, folder, flags.train, flags.validation)
    dataset = store_pictures(folder, work / "datasets")
    made = []
    for backbone in flags.backbones.split(","):
        base, lrate = BACKBONES[backbone]
        for size in (int(text) for text in flags.sizes.split(",")):
            made.append(
                Case(
                    backbone=backbone,
                    base=flags.base or base,
                    image_size=size,
                    batch_size=flags.batch,
                    lrate=flags.lrate or lrate * flags.batch / 64,
                    epochs=flags.rounds,
                    top1=flags.top1,
                    threads=flags.threads,
                    workers=flags.workers or max(1, flags.threads // 2),
                    gpus=flags.gpus,
                    tuned_bf16=not flags.r1_fp32,
                    tuned_huge_pages=flags.r1_huge_pages,
                    folder=folder,
                    dataset=dataset,
                    concepts=concepts_in(folder),
                    work=work / f"{backbone}-{size}",
                )
            )
    return made


def machine(flags: argparse.Namespace) -> dict[str, Any]:
    """Where it was measured."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": flags.threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "hugePages": "ours, R1" if flags.r1_huge_pages else "ours",
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }


def main() -> None:
    """Runs all cases and prints their figures."""
    flags = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="deeptrain-bench-") as name:
        work = Path(name)
        print("making the pictures", file=sys.stderr)
        result = []
        for case in cases(flags, work):
            print(f"{case.backbone} at {case.image_size} px", file=sys.stderr)
            result.append(figures(case, run_case(case)))
        data = {
            "source": "generated" if flags.data is None else flags.data.name,
            "train": count_pictures(work / "pictures", TRAIN),
            "validation": count_pictures(work / "pictures", VALIDATION),
        }
    print(json.dumps({**machine(flags), "data": data, "cases": result}, indent=2))


if __name__ == "__main__":
    main()
