#!/usr/bin/env bash
# Format, lint and types of the trainer. With --fix: formats and repairs what can be repaired.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=$(bash venv.sh)
if [ "${1:-}" = "--fix" ]; then
  "$venv/bin/ruff" format --quiet
  "$venv/bin/ruff" check --fix --quiet
else
  "$venv/bin/ruff" format --check --quiet
  "$venv/bin/ruff" check --quiet
fi
"$venv/bin/mypy"
