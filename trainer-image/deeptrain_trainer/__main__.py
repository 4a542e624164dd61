"""`python -m deeptrain_trainer`: does what the run file says and leaves a record. Exit codes are in failure.py."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from .failure import EXIT_CRASHED, EXIT_PUBLISHED, EXIT_STOPPED, Failure, Stopped
from .launch import LOCAL_RANK, run_processes
from .record import failed, write_record
from .report import CA_FILE, TOKEN_FILE, Reporter, log
from .run import read_envelope, read_run
from .share import share_of, take_share
from .signals import StopFlag
from .surprise import failure_of
from .tasks import perform


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="deeptrain_trainer")
    parser.add_argument("--run", type=Path, default=Path("/etc/deeptrain/run.json"))
    parser.add_argument("--record", type=Path, default=Path("/dev/termination-log"))
    parser.add_argument("--ca", type=Path, default=CA_FILE)
    parser.add_argument("--token", type=Path, default=TOKEN_FILE)
    arguments = parser.parse_args()
    stop = StopFlag()
    # Even the record of a run file that is refused must say whose it is: else the operator does not read it.
    envelope = read_envelope(arguments.run)
    document: dict[str, Any] = {}
    reporter: Reporter | None = None
    try:
        document = read_run(arguments.run)
        share = share_of(document)
        if share.local_processes > 1 and LOCAL_RANK not in os.environ:
            return run_processes(
                share.local_processes, sys.argv[1:], arguments.record, envelope, stop.check
            )
        take_share(share)
        url = document.get("progressUrl")
        reporter = Reporter(
            **envelope,
            url=url,
            ca_file=arguments.ca,
            token_file=arguments.token,
            quiet=not share.is_first,
        )
        record, code = perform(document, reporter, stop.check), EXIT_PUBLISHED
    except Stopped as stopped:
        record, code = {"outcome": "stopped", **stopped.facts}, EXIT_STOPPED
    except Failure as failure:
        record, code = failed(failure) | failure.facts, failure.exit_code
    except Exception as surprise:
        record, code = failed(failure_of(surprise, document)), EXIT_CRASHED
    if reporter is not None:
        reporter.close()
    record = {**envelope, **record}
    write_record(arguments.record, record)
    log({"type": "record", **record})
    return code


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is said and done; to take PyTorch's modules apart would take another second.
    os._exit(exit_code)
