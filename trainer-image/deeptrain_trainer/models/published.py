"""What published versions of an architecture name, or shape, otherwise than we do."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Adapting(Protocol):
    """A backbone that takes more than tensors of its own names and shapes."""

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file, with what it has of this backbone by torchvision's names and in its shapes.

        Others stay as they are.
        """


def renamed(
    tensors: Mapping[str, Tensor], patterns: Sequence[tuple[str, str]]
) -> dict[str, Tensor]:
    """Names that begin with a pattern begin with its replacement instead."""

    def new_name(name: str) -> str:
        for pattern, replacement in patterns:
            if match := re.match(pattern, name):
                return match.expand(replacement) + name[match.end() :]
        return name

    return {new_name(name): tensor for name, tensor in tensors.items()}
