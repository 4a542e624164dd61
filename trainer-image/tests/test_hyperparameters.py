"""Every hyperparameter changes what it says that it changes."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Recorder
from test_models import LITE0

from deeptrain_trainer import classifier, engine
from deeptrain_trainer import run as run_module
from deeptrain_trainer.engine import Training, run_training, train_step
from deeptrain_trainer.learner import Validation

Prepared = Callable[..., Training]


def weights(t: Training, prefix: str = "") -> dict[str, torch.Tensor]:
    return {n: v.clone() for n, v in t.model.state_dict().items() if n.startswith(prefix)}


def changed(before: dict[str, torch.Tensor], t: Training) -> set[str]:
    now = t.model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, now[name])}


def one_step(t: Training) -> float:
    t.model.train()
    loss = train_step(t, t.learner.load_batch(t.state.step))
    assert loss is not None
    return loss


@pytest.mark.parametrize("flips", [True, False])
def test_average_horizontal_flips(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, flips: bool
) -> None:
    given: list[bool] = []
    real = classifier.augment

    def watched(pixels: torch.Tensor, draws: torch.Tensor, flips: bool) -> torch.Tensor:
        given.append(flips)
        return real(pixels, draws, flips)

    monkeypatch.setattr(classifier, "augment", watched)
    one_step(prepared(average_horizontal_flips=flips))
    assert given == [flips]


def test_average_horizontal_flips_changes_the_training(prepared: Prepared) -> None:
    assert one_step(prepared()) != one_step(prepared(average_horizontal_flips=False))


def test_base_gradient_multiplier_scales_the_rate_of_the_base(prepared: Prepared) -> None:
    def moved(multiplier: float) -> tuple[float, float]:
        t = prepared(base_gradient_multiplier=multiplier, batch_size=16)
        before = weights(t)
        one_step(t)
        now = t.model.state_dict()
        base = (now["base.net.conv1.weight"] - before["base.net.conv1.weight"]).norm().item()
        return base, (now["head.weight"] - before["head.weight"]).norm().item()

    full, tenth = moved(1), moved(0.1)
    assert tenth[0] == pytest.approx(full[0] / 10, rel=1e-3)
    assert tenth[1] == full[1]


@pytest.mark.parametrize("start", [{}, LITE0], ids=["none", "pretrained"])
def test_base_gradient_multiplier_0_freezes_the_base_with_its_batch_norm(
    prepared: Prepared, start: dict[str, object]
) -> None:
    t = prepared(base_gradient_multiplier=0, **start)
    before = weights(t)
    for _ in range(3):
        one_step(t)
    assert changed(before, t) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("batch_size", [1, 7, 48])
def test_batch_size(prepared: Prepared, batch_size: int) -> None:
    t = prepared(batch_size=batch_size)
    assert len(t.learner.load_batch(0)[0]) == batch_size
    assert t.schedule.steps_per_epoch == -(-48 // batch_size)


@pytest.mark.parametrize("image_size", [32, 96])
def test_image_size(prepared: Prepared, image_size: int) -> None:
    t = prepared(image_size=image_size)
    assert t.learner.load_batch(0)[0].shape[1:] == (3, image_size, image_size)


def test_init_epochs_and_step_epochs_drop_the_rate_that_is_trained_with(prepared: Prepared) -> None:
    t = prepared(num_epochs=4, init_epochs=1, step_epochs=2, lrate=0.01, batch_size=48)
    run_training(t)
    assert isinstance(t.reporter, Recorder)
    rates = [event["lrate"] for event in t.reporter.of("epoch")]
    assert rates == pytest.approx([0.01, 0.003, 0.003, 0.0009])


def test_lrate_schedule_cosine_is_the_rate_that_is_trained_with(prepared: Prepared) -> None:
    t = prepared(num_epochs=4, lrate_schedule="cosine", lrate=0.01, batch_size=48)
    run_training(t)
    assert isinstance(t.reporter, Recorder)
    rates = [event["lrate"] for event in t.reporter.of("epoch")]
    half = 0.5**0.5
    assert rates == pytest.approx([0.01, 0.005 * (1 + half), 0.005, 0.005 * (1 - half)], rel=1e-4)
    assert {group["lr"] for group in t.optimizer.param_groups} == {t.schedule.lrate_at(3)}


@pytest.mark.parametrize(("decay", "want"), [(0.1, [0.01, 0.001, 1e-4]), (1, [0.01] * 3)])
def test_lrate_decay_is_what_the_rate_is_multiplied_by_at_each_drop(
    prepared: Prepared, decay: float, want: list[float]
) -> None:
    t = prepared(
        num_epochs=3, init_epochs=1, step_epochs=1, lrate=0.01, batch_size=48, lrate_decay=decay
    )
    run_training(t)
    assert isinstance(t.reporter, Recorder)
    assert [event["lrate"] for event in t.reporter.of("epoch")] == pytest.approx(want)


@pytest.mark.parametrize("lrate", [0.01, 0.02])
def test_lrate_is_what_a_step_is_made_with(prepared: Prepared, lrate: float) -> None:
    t = prepared(lrate=lrate)
    one_step(t)
    assert {group["lr"] for group in t.optimizer.param_groups} == {lrate}


def test_logreg_scores_concepts_one_by_one(prepared: Prepared) -> None:
    logreg, softmax = prepared(), prepared(logreg=False)
    # Both begin undecided: log(3/2) + 2 log(3/2) - ... for sigmoids at the prior 1/3, log 3 for softmax.
    assert one_step(logreg) == pytest.approx(np.log(3) + 2 * np.log(1.5), abs=0.3)
    assert one_step(softmax) == pytest.approx(np.log(3), abs=0.3)


def test_label_smoothing_spreads_the_truth_over_all_concepts(prepared: Prepared) -> None:
    t, plain = prepared(logreg=False, label_smoothing=0.3), prepared(logreg=False)
    for training in (t, plain):
        training.model.eval()
        with torch.no_grad():  # undecided logits would hide the difference
            training.model.get_parameter("head.weight").mul_(100)
    images, targets = t.learner.load_batch(0)
    shares = t.model(images).log_softmax(1)
    spread = 0.7 * targets + 0.1  # of three concepts
    expected = -(spread * shares).sum(1).mean()
    assert t.learner.loss((images, targets)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert plain.learner.loss((images, targets)).item() != pytest.approx(expected.item(), rel=1e-3)
    # The loss that is watched for divergence is the one that is trained with.
    assert t.learner.validate().loss != pytest.approx(plain.learner.validate().loss, rel=1e-3)


def test_what_a_run_file_leaves_out_has_the_default_that_its_schema_names() -> None:
    schema = json.loads((Path(run_module.__file__).parent / "schema" / "run.json").read_text())
    said = {
        name: float(absent[1])
        for name, about in _hyperparameters_of(schema).items()
        if (absent := re.search(r"Absent: ([\d.]+)\.$", about.get("description", "")))
    }
    assert len(said) == 6
    defaults = {field.name: field.default for field in fields(run_module.Hyperparameters)}
    assert said == {name: defaults[name] for name in said}


def _hyperparameters_of(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of a training, from the schema of run files."""
    trained = next(
        one["properties"]
        for one in schema["oneOf"]
        if one["properties"]["task"].get("const") == "train"
    )
    found: dict[str, dict[str, Any]] = trained["hyperparameters"]["properties"]
    return found


def test_num_epochs_and_num_items_per_epoch_are_kept_exactly(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = 0
    real = engine.train_step

    def counted(t: Training, batch: engine.Batch) -> float | None:
        nonlocal shown
        shown += len(batch[0])
        return real(t, batch)

    monkeypatch.setattr(engine, "train_step", counted)
    t = prepared(num_epochs=3, num_items_per_epoch=20, batch_size=8)
    run_training(t)
    assert shown == 3 * 24  # 20 rounded up to whole batches
    assert t.state.epoch == 3 and len(t.state.history) == 3


@pytest.mark.parametrize(("test_freq", "want"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5])])
def test_test_freq(prepared: Prepared, test_freq: int, want: list[int]) -> None:
    t = prepared(num_epochs=5, num_items_per_epoch=8, test_freq=test_freq)
    run_training(t)
    assert [point["epoch"] for point in t.state.history if "validation" in point] == want


def test_early_stop_epochs(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    tops = [0.5, 0.7, 0.7, 0.6, 0.5, 0.9]
    changes = {"num_epochs": 6, "num_items_per_epoch": 64}

    def trained(early_stop_epochs: int) -> Training:
        t = prepared(**changes, early_stop_epochs=early_stop_epochs)
        validations = iter(Validation({"top1": top}, 1.0) for top in tops)
        monkeypatch.setattr(t.learner, "validate", lambda: next(validations))
        run_training(t)
        return t

    assert [trained(n).state.epoch for n in (0, 1, 2, 3, 4)] == [6, 3, 4, 5, 6]
    stopped, whole = trained(1), trained(0)
    # The best epoch is the later of equal ones, and the rate falls as in all of them.
    assert stopped.state.best_epoch == 3 and stopped.state.step == 24
    assert [point["lrate"] for point in stopped.state.history] == [
        point["lrate"] for point in whole.state.history[:3]
    ]
    assert isinstance(stopped.reporter, Recorder)
    *before, last = [event.get("etaSeconds") for event in stopped.reporter.of("epoch")]
    assert last == 0 and 0 not in before


def test_seed_changes_order_augmentation_and_initialisation(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = classifier.augment

    def watched(pixels: torch.Tensor, draws: torch.Tensor, flips: bool) -> torch.Tensor:
        given.append((pixels, draws))
        return real(pixels, draws, flips)

    monkeypatch.setattr(classifier, "augment", watched)
    one, other = prepared(seed=1), prepared(seed=2)
    assert not torch.equal(weights(one)["head.weight"], weights(other)["head.weight"])
    one.learner.load_batch(0)
    other.learner.load_batch(0)
    first, second = given
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    again = prepared(seed=1)
    assert one_step(one) == one_step(again)


def test_weight_decay_skips_biases_and_norms(prepared: Prepared) -> None:
    t = prepared()
    decayed = [p for g in t.optimizer.param_groups if g["weight_decay"] for p in g["params"]]
    others = [p for g in t.optimizer.param_groups if not g["weight_decay"] for p in g["params"]]
    assert all(p.ndim > 1 for p in decayed) and all(p.ndim == 1 for p in others)
    assert len(decayed) + len(others) == len(list(t.model.parameters()))


SGD, ADAMW = (f"visual-classifier/{name}" for name in ("resnet18", "vit-small"))


@pytest.mark.parametrize(
    ("template", "shrinks_by"),
    [
        # The first step with Nesterov momentum 0.9 is made with 1.9 times the gradient.
        pytest.param(SGD, 1.9, id="SGD"),
        pytest.param(ADAMW, 1.0, id="AdamW"),
    ],
)
def test_weight_decay_shrinks_weights_and_nothing_else(
    prepared: Prepared, template: str, shrinks_by: float
) -> None:
    decay, multiplier = 0.5, 0.2
    shape = {
        "template": template,
        "image_size": 96,
        "batch_size": 4,
        "lrate": 0.01,
        "base_gradient_multiplier": multiplier,
    }
    t, without = prepared(**shape, weight_decay=decay), prepared(**shape, weight_decay=0)
    before = weights(t)
    assert before.keys() == weights(without).keys()
    one_step(t)
    one_step(without)
    shrunk = set()
    for (name, now), kept in zip(
        t.model.named_parameters(), without.model.parameters(), strict=True
    ):
        if now.ndim == 1:
            assert torch.equal(now, kept), name
            continue
        rate = t.schedule.lrate_at(0) * (multiplier if name.startswith("base.") else 1)
        torch.testing.assert_close(
            kept - now, shrinks_by * rate * decay * before[name], atol=1e-6, rtol=1e-3
        )
        if not torch.equal(now, kept):
            shrunk.add(name)
    # A vision transformer's class token begins at 0, where nothing is left to shrink.
    decays = {n for n, p in t.model.named_parameters() if p.ndim > 1 and before[n].any()}
    assert shrunk == decays and "head.weight" in decays


@pytest.mark.parametrize(("template", "own"), [(SGD, 1e-4), (ADAMW, 0.05)])
def test_weight_decay_is_the_templates_where_it_is_not_written(
    prepared: Prepared, template: str, own: float
) -> None:
    shape = {"template": template, "image_size": 96, "batch_size": 4}
    unwritten, written = prepared(**shape), prepared(**shape, weight_decay=own)
    for _ in range(2):
        assert one_step(unwritten) == one_step(written)
    assert changed(weights(unwritten), written) == set()
    nothing = prepared(**shape, weight_decay=0)
    assert {group["weight_decay"] for group in nothing.optimizer.param_groups} == {0}
