"""Feature pyramid network (Lin et al. 2017): every level knows what the coarser ones know."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class FeaturePyramid(nn.Module):
    """Maps of rising stride and `widths` channels to maps of `channels`, and `extra` coarser ones after them."""

    def __init__(self, widths: Sequence[int], channels: int, extra: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)
        self.extra = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(extra)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """[N, C_l, H_l, W_l], each half the one before, to [N, channels, H_l, W_l]."""
        levels = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for finer in range(len(levels) - 2, -1, -1):
            levels[finer] = levels[finer] + F.interpolate(levels[finer + 1], scale_factor=2.0)
        outputs = [conv(x) for conv, x in zip(self.output, levels, strict=True)]
        for number, conv in enumerate(self.extra):
            # As in RetinaNet: no activation before the first.
            outputs.append(conv(F.relu(outputs[-1]) if number else outputs[-1]))
        return outputs
