#!/usr/bin/env bash
# Makes the trainer's virtual environment in the cache, once for each set of requirements, and prints its path.
# Needs bash, flock and Python 3.11 or newer; Debian's lacks venv, which root installs. Messages go to stderr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${DEEPTRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/deeptrain}"
python="${PYTHON:-python3}"
key=$( { cat requirements.txt requirements-dev.txt requirements-uv.txt deeptrain_trainer/bases.py
         "$python" -c 'import sys; print(sys.version_info[:2])'; } | sha256sum | cut -c1-16)
venv="$cache/venv-$key"
if [ -e "$venv/bin/python" ]; then
  echo "$venv"
  exit 0
fi

# Debian has ensurepip, without which there is no venv, in a package of its own.
has_venv() {
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "trainer: installing python3-venv" >&2
    export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
    { apt-get update -qq &&
      apt-get install -o DPkg::Lock::Timeout=300 -y -qq --no-install-recommends python3-venv; } >&2 || true
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
  fi
  echo "trainer: $python has no venv: install python3-venv (or uv)" >&2
  exit 1
}

mkdir -p "$cache"
exec 9>"$cache/venv.lock"
flock 9
if [ ! -e "$venv/bin/python" ]; then
  echo "trainer: installing PyTorch and the other requirements into $venv" >&2
  tmp="$cache/.venv-$key.$$"
  trap 'rm -rf "$tmp" "$tmp-uv"' EXIT
  if ! uv=$(command -v uv) || ! "$uv" --version >/dev/null 2>&1; then
    has_venv
    "$python" -m venv "$tmp-uv" >&2
    "$tmp-uv/bin/pip" install --quiet --require-hashes -r requirements-uv.txt >&2
    uv="$tmp-uv/bin/uv"
  fi
  export UV_CACHE_DIR="$cache/uv" UV_LINK_MODE="${UV_LINK_MODE:-hardlink}" UV_PYTHON_DOWNLOADS=never
  # Relocatable, so that the finished environment can be renamed into its place.
  "$uv" venv --quiet --relocatable --python "$(command -v "$python")" "$tmp" >&2
  VIRTUAL_ENV="$tmp" "$uv" pip install --quiet --require-hashes --compile-bytecode \
    -r requirements.txt -r requirements-dev.txt >&2
  "$tmp/bin/python" -m deeptrain_trainer.bases "$tmp/share/deeptrain/bases" >&2
  mv -T "$tmp" "$venv"
fi
echo "$venv"
