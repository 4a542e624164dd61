#!/usr/bin/env bash
# The trainer's tests: `bash trainer-image/test.sh [pytest arguments]`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=$(bash venv.sh)
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
