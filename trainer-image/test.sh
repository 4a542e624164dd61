#!/usr/bin/env bash
# The trainer's tests: `bash trainer-image/test.sh [pytest arguments]`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=$(bash venv.sh)
# PyTorch is loaded here before the trainer, which says so itself.
export PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
