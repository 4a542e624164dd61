"""A checker whose decoder dies or hangs over some files: a program for test_checker.py."""

import os
import signal
import sys
import time

from deeptrain_trainer.dataset import checker

_check = checker.check


def _dying(data: bytes) -> checker.Verdict:
    if data == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"exit":
        os._exit(3)
    if data == b"hang":
        time.sleep(600)
    return _check(data)


if __name__ == "__main__":
    if os.environ.get("DYING_CHECKER") == "at-start":
        sys.exit(5)
    checker.check = _dying
    checker.serve(int(sys.argv[1]))
