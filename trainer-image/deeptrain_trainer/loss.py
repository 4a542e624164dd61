"""The two losses of a classifier."""

from torch import Tensor
from torch.nn import functional as F


def classification_loss(
    logits: Tensor, targets: Tensor, logreg: bool, label_smoothing: float = 0.0
) -> Tensor:
    """Mean over the images. `targets` [N, C] is 1 where a concept is shown, 0 where not, negative where nobody knows.

    logreg: binary cross-entropy, summed over the concepts (their mean would shrink the gradients by their number);
    what is not known does not count.
    Otherwise softmax cross-entropy, with exactly one concept for each image; `label_smoothing` of the truth is spread
    evenly over all concepts (Szegedy et al. 2016).
    """
    if logreg:
        known = (targets >= 0).to(logits.dtype)
        total = F.binary_cross_entropy_with_logits(
            logits, targets.clamp(min=0), weight=known, reduction="sum"
        )
        return total / len(logits)
    return F.cross_entropy(logits, targets.argmax(1), label_smoothing=label_smoothing)
