#!/usr/bin/env bash
# make_venv.sh VENV REQUIREMENT: install REQUIREMENT, editable, into VENV, which is made where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 requirement=$2

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local names=${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python} name
  for name in $names; do
    if recent "$name"; then echo "$name" && return; fi
  done
  echo "OpenJEPA needs Python 3.11 or newer, and none of these is: $names." \
    "Install one, or name one with PYTHON=/path/to/python." >&2
  return 1
}

# Debian splits ensurepip off into python3-venv; where that is missing, the pip that is there fills the environment.
make_venv() {
  local python
  python=$(find_python)
  "$python" -m venv --clear "$venv" >/dev/null 2>&1 && return
  "$python" -m venv --clear --without-pip "$venv"
  "$python" -m pip --python "$venv/bin/python" install -qq pip
}

recent "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
echo "Installing $requirement into $venv: one to three minutes the first time, most of it for torch."
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt -e "$requirement"
