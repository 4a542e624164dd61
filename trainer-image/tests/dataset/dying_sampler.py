"""A sampler whose decoder dies or hangs over some videos: a program for test_videofolder.py."""

import os
import signal
import sys
import time
from collections.abc import Iterator

from deeptrain_trainer.dataset import sampler, video

_sampled = video.sampled_frames


def _dying(data: bytes, frames_per_second: float) -> Iterator[video.Frame | None]:
    if data == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        time.sleep(600)
    if data == b"full":
        raise OSError(28, "No space left on device")
    return _sampled(data, frames_per_second)


if __name__ == "__main__":
    if os.environ.get("DYING_SAMPLER") == "at-start":
        sys.exit(5)
    video.sampled_frames = _dying
    sampler.serve(int(sys.argv[1]))
