"""The recipes are those that the API resolves and documents: it tells a run only what differs from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_models import LITE0

from deeptrain_trainer import classifier, embedder, linear
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.engine import Training
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.optimizer import Recipe
from deeptrain_trainer.templates import newest_revision

ROOT = Path(__file__).resolve().parents[2]
HEADS = {"visual-embedder": embedder.RECIPE, "context-based-classifier": linear.RECIPE}


def documented() -> dict[tuple[str, int, bool], tuple[str, float]]:
    """Optimiser and weight decay by template, newest revision and whether the weights begin pretrained.

    From the reference page, which is made of api/.
    """
    page = (ROOT / "docs/reference/deepmodel.md").read_text()
    found = {}
    for kind in page.partition("## Templates and their defaults")[2].split("\n### ")[1:]:
        name, *lines = kind.splitlines()
        cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
        rows = {row[0]: row[1:] for row in cells if row}
        keys = ("", "newest revision", "weights begin", "optimiser", "weight_decay")
        for each, revision, begin, optimizer, decay in zip(
            *(rows[key] for key in keys), strict=True
        ):
            case = (f"{name}/{each}", int(revision), begin == "pretrained")
            found[case] = (optimizer, float(decay))
    return found


def recipe_of(template: str, revision: int, is_pretrained: bool) -> Recipe:
    kind = template.partition("/")[0]
    if kind == "visual-classifier":
        return classifier.recipe_of(template, revision, is_pretrained)
    return ARCHITECTURES[template].recipe if kind == "visual-detector" else HEADS[kind]


def test_the_newest_revision_is_known_and_a_newer_one_refused(
    prepared: Callable[..., Training],
) -> None:
    for template, newest, _ in documented():
        assert newest_revision(template) == newest, template
    with pytest.raises(Failure, match="only up to 2: use a newer one") as refused:
        prepared(templateRevision=3)
    assert refused.value.reason == "InputInvalid"


def test_every_template_has_the_optimiser_and_the_weight_decay_that_are_documented() -> None:
    known = documented()
    assert len({template for template, _, _ in known}) == 12 and len(known) == 23
    for case, want in known.items():
        recipe = recipe_of(*case)
        assert (recipe.optimizer, recipe.weight_decay) == want, case


def test_gradients_are_clipped_where_the_catalogue_says() -> None:
    norms = {
        (template, recipe_of(template, revision, pretrained).clip_norm)
        for template, revision, pretrained in documented()
    }
    detectors = {(template, 10.0) for template in ARCHITECTURES}
    assert {norm for norm in norms if norm[1] is not None} == detectors | {
        ("visual-classifier/convnext-tiny", 1.0),
        ("visual-classifier/vit-small", 1.0),
    }


def test_a_training_is_of_its_revision(prepared: Callable[..., Training]) -> None:
    def optimizer(**changes: Any) -> torch.optim.Optimizer:
        return prepared(**{**LITE0, "templateRevision": 3, **changes}).optimizer

    newest = optimizer()
    assert isinstance(newest, torch.optim.AdamW)
    assert {group["weight_decay"] for group in newest.param_groups} == {0.02, 0.0}
    assert isinstance(optimizer(templateRevision=2), torch.optim.SGD)
    assert isinstance(optimizer(base={"id": "none"}), torch.optim.SGD)


def test_a_revision_stays_what_it_was() -> None:
    lite = "visual-classifier/efficientnet-lite0"
    sgd = Recipe("SGD", weight_decay=1e-4)
    assert [recipe_of(lite, revision, True) for revision in (1, 2)] == [sgd, sgd]
    assert [recipe_of("visual-classifier/resnet18", r, True) for r in (1, 2)] == [sgd, sgd]
