"""Images per second and the time that is left, out of the last steps."""

from collections import deque

from .report import rounded

# Before so many steps the figures would say more about start-up than about the training.
FIRST_STEPS = 20
_WINDOW = 50


class Speed:
    """Durations of steps and evaluations of this process."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._steps = 0
        self._durations: deque[float] = deque(maxlen=_WINDOW)
        self._evaluation_seconds = 0.0

    def step(self, seconds: float) -> None:
        """A step took so long."""
        self._steps += 1
        if self._steps > 2:  # the first ones allocate and choose kernels
            self._durations.append(seconds)

    def evaluation(self, seconds: float) -> None:
        """An evaluation took so long."""
        self._evaluation_seconds = seconds

    def report(self, steps_left: int, evaluations_left: int) -> dict[str, float]:
        """`imagesPerSecond` and `etaSeconds`; empty while they are not known."""
        if self._steps < FIRST_STEPS:
            return {}
        seconds = sum(self._durations) / len(self._durations)
        left = steps_left * seconds + evaluations_left * self._evaluation_seconds
        return {
            "imagesPerSecond": rounded(self._batch_size / seconds, 4),
            "etaSeconds": rounded(left, 4),
        }
