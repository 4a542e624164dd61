"""A run that was stopped or killed at any moment ends with the very bits of an undisturbed one."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RunFile, Unwritten
from test_models import LITE0

from deeptrain_trainer.engine import Training, restore_state, run_training
from deeptrain_trainer.failure import Stopped

Prepared = Callable[..., Training]
SHAPE = {"num_epochs": 2, "num_items_per_epoch": 12, "batch_size": 4, "init_epochs": 1}
STEPS = 6

# A trainer that writes a checkpoint at nearly every step.
DRIVER = (
    "import sys; from deeptrain_trainer import engine; engine.CHECKPOINT_SECONDS = 0.05;"
    "engine.SHORTEST_SAVE_SECONDS = 0.0;"
    "from deeptrain_trainer.__main__ import main; sys.exit(main())"
)


def final_state(t: Training) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    weights = {f"model.{n}": v for n, v in t.model.state_dict().items()}
    return t.state.__dict__, weights | {f"best.{n}": v for n, v in t.best_weights.items()}


def assert_same(one: Training, other: Training) -> None:
    (state, tensors), (other_state, other_tensors) = final_state(one), final_state(other)
    assert state == other_state
    different = [name for name, v in tensors.items() if not torch.equal(v, other_tensors[name])]
    assert different == []


def stopped_and_resumed(prepared: Prepared, shape: dict[str, Any], look: int) -> Training:
    """A training that was stopped at the n-th look, and another one that went on from its checkpoint."""
    stopped = prepared(**shape)
    stopped.check_stop = stopped.learner.check_stop = StopAt(look)  # type: ignore[attr-defined]
    with pytest.raises(Stopped):
        run_training(stopped)
    assert isinstance(stopped.checkpoints, Unwritten)
    # Neither the generator that initialises the weights nor what was drawn before may matter.
    resumed = prepared(**shape)
    torch.manual_seed(look)
    assert stopped.checkpoints.newest is not None
    restore_state(resumed, stopped.checkpoints.newest)
    run_training(resumed)
    return resumed


class StopAt:
    """Raises Stopped at the n-th look and never again."""

    def __init__(self, look: int) -> None:
        self.left = look

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped


@pytest.mark.parametrize(
    ("changes", "looks"),
    [
        # Looks are at each step and in each evaluation: some of these stop inside one.
        pytest.param({}, range(1, STEPS + 3), id="resnet18"),
        pytest.param(
            LITE0 | {"base_gradient_multiplier": 0.1},
            (2, 4, 6),
            id="efficientnet-lite0 with dropout",
        ),
        pytest.param({"logreg": False}, (3, 5), id="softmax"),
        pytest.param(
            {"lrate_schedule": "cosine", "weight_decay": 0.1, "lrate": 0.05},
            range(1, STEPS + 3),
            id="cosine and weight decay",
        ),
        pytest.param(
            {"template": "visual-classifier/vit-small", "image_size": 96, "lrate": 1e-4},
            (3, 5),
            id="AdamW with clipping",
        ),
    ],
)
def test_stopped_at_every_look_and_resumed(
    prepared: Prepared, changes: dict[str, Any], looks: Iterable[int]
) -> None:
    shape = SHAPE | changes
    whole = prepared(**shape)
    run_training(whole)
    for look in looks:
        assert_same(whole, stopped_and_resumed(prepared, shape, look))


def test_it_ends_as_early_when_it_was_stopped_in_between(prepared: Prepared) -> None:
    # So small a rate on a frozen base changes no answer.
    still = {"lrate": 1e-12, "base_gradient_multiplier": 0}
    shape = SHAPE | still | {"num_epochs": 6, "init_epochs": 6, "early_stop_epochs": 2}
    whole = prepared(**shape)
    run_training(whole)
    assert whole.state.epoch == 3
    for look in range(1, 10):
        assert_same(whole, stopped_and_resumed(prepared, shape, look))


def start(run: Path, record: Path) -> subprocess.Popen[str]:
    arguments = ["--run", str(run), "--record", str(record)]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments], stdout=subprocess.PIPE, text=True
    )


def wait_for_step(process: subprocess.Popen[str]) -> None:
    """Until the first checkpoint of this process."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "checkpoint":
            return


def test_killed_at_random_moments_and_stopped_by_sigterm(run_file: RunFile, tmp_path: Path) -> None:
    moments = random.Random(7)
    digests: dict[str, str] = {}
    for name, signals in {"whole": [], "killed": ["KILL", "TERM", "KILL"]}.items():
        output = tmp_path / name
        run, record = tmp_path / f"{name}.json", tmp_path / f"{name}.record"
        content = run_file(**SHAPE | {"num_epochs": 4}) | {"output": str(output)}
        run.write_text(json.dumps(content))
        for sent in signals:
            process = start(run, record)
            wait_for_step(process)
            time.sleep(moments.random() * 0.4)
            process.send_signal(getattr(signal, f"SIG{sent}"))
            process.communicate()
            if sent == "TERM":
                assert process.returncode == 143
                stopped = json.loads(record.read_text())
                assert stopped["outcome"] == "stopped" and stopped["checkpoint"]["step"] > 0
        process = start(run, record)
        process.communicate()
        assert process.returncode == 0
        published = json.loads(record.read_text())
        manifest = json.loads((output / "artifact" / "manifest.json").read_text())
        digests[name] = published["artifact"]["digest"]
        assert {f["path"] for f in manifest["files"]} >= {"weights.safetensors", "model.onnx"}
        assert not (output / "checkpoints").exists()
    # The manifest has the digests of weights, graphs, history and metrics: all of them are equal.
    assert digests["whole"] == digests["killed"]
