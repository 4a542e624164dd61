#!/usr/bin/env bash
# Installs the npm dependencies (Node 24 among them) when they are missing or older than package-lock.json.
# Needs only bash, npm and some Node; every npm task that needs dependencies calls it first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stamp=node_modules/.deeptrain-lock
if [ ! -x node_modules/.bin/node ] || ! cmp -s package-lock.json "$stamp"; then
  echo "bootstrap: installing npm dependencies" >&2
  # onnxruntime-node would fetch CUDA libraries from a registry that is often out of reach; the CPU ones are bundled.
  ONNXRUNTIME_NODE_INSTALL=skip npm ci --no-fund --no-audit --loglevel=error >&2
  cp package-lock.json "$stamp"
fi

version=$(node_modules/.bin/node --version)
case "$version" in
  v24.*) ;;
  *) echo "bootstrap: expected Node 24 in node_modules/.bin, found $version; run: npm rebuild node" >&2; exit 1 ;;
esac
