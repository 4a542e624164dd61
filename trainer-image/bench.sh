#!/usr/bin/env bash
# The trainer's benchmark: `bash trainer-image/bench.sh [--help]`. Prints JSON.
set -euo pipefail
# Where the caller is: a relative --data means a folder there.
venv=$(bash "$(dirname "${BASH_SOURCE[0]}")/venv.sh")
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH
PYTHONPATH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$venv/bin/python" -m bench "$@"
