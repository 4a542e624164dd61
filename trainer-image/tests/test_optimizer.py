"""The recipes are those that the API resolves and documents: it tells a run only what differs from them."""

from pathlib import Path

from deeptrain_trainer import classifier, embedder, linear
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.models import backbone_name

ROOT = Path(__file__).resolve().parents[2]
HEADS = {"visual-embedder": embedder.RECIPE, "context-based-classifier": linear.RECIPE}


def documented() -> set[tuple[str, str, float]]:
    """Template, optimiser and weight decay of the reference page, which is made of api/."""
    page = (ROOT / "docs/reference/deepmodel.md").read_text()
    found = set()
    for kind in page.partition("## Templates and their defaults")[2].split("\n### ")[1:]:
        name, *lines = kind.splitlines()
        cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
        rows = {row[0]: row[1:] for row in cells if row}
        columns = zip(rows[""], rows["optimiser"], rows["weight_decay"], strict=True)
        found |= {(f"{name}/{each}", optimizer, float(decay)) for each, optimizer, decay in columns}
    return found


def test_every_template_has_the_optimiser_and_the_weight_decay_that_are_documented() -> None:
    known = documented()
    assert len(known) == 12
    for template, optimizer, decay in known:
        kind = template.partition("/")[0]
        if kind == "visual-classifier":
            recipe = classifier.RECIPES[backbone_name(template)]
        elif kind == "visual-detector":
            recipe = ARCHITECTURES[template].recipe
        else:
            recipe = HEADS[kind]
        assert (recipe.optimizer, recipe.weight_decay) == (optimizer, decay), template
