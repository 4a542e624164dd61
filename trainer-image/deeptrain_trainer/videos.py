"""Metrics of whole videos: the scores of a video are the mean of its frames' scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset.index import Item
from .metrics import Values, classifier_metrics

PREFIX = "video_"
# A model is served frames: the threshold that suits these is given already.
_OF_FRAMES_ONLY = "best_f1_threshold"


def are_frames(items: Sequence[Item]) -> bool:
    """Whether items are frames of videos: the second frame of a video has a time."""
    return any(item.time_ms for item in items)


def by_video(
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    groups: NDArray[np.int64],
    exclusive: bool,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and truth [V, C] of the videos from those [N, C] of their frames. `groups` [N]: the video of each frame.

    A video shows what any of its frames shows; where concepts exclude one another, what most of them show.
    """
    _, video, frames = np.unique(groups, return_inverse=True, return_counts=True)
    shown = np.zeros((len(frames), truth.shape[1]))
    sums = np.zeros_like(shown)
    np.add.at(shown, video, truth)
    np.add.at(sums, video, scores)
    means = (sums / frames[:, None]).astype(np.float32)
    if exclusive:
        return means, np.eye(truth.shape[1], dtype=np.bool_)[shown.argmax(1)]
    return means, shown > 0


def video_metrics(
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    items: Sequence[Item],
    names: list[str],
    exclusive: bool,
    softmax: bool,
) -> tuple[Values, list[dict[str, Any]]]:
    """Metrics of the videos, and a row of them for each concept, all named `video_...`.

    They are made of the scores and the truth [N, C] of their frames, the `items`.
    """
    groups = np.array([item.group for item in items], np.int64)
    of_videos = by_video(scores, truth, groups, exclusive)
    measured = classifier_metrics(*of_videos, names, exclusive, softmax)
    values = {PREFIX + name: v for name, v in measured.values.items() if name != _OF_FRAMES_ONLY}
    rows = [
        {PREFIX + name: value for name, value in row.items() if name != "concept"}
        for row in measured.concepts
    ]
    return values, rows
