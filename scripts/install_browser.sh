#!/usr/bin/env bash
# Install Debian's Chromium for the test that opens the report, if there is no browser yet and this user may.
# Never fails: without a browser that one test skips by name.
set -uo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then exit 0; fi
done

without() {
  echo "warning: $1: the test that opens the report in a browser will be skipped" >&2
  exit 0
}

command -v apt-get >/dev/null || without "there is no Chromium, and no apt-get to install it with"
if [ "$(id -u)" = 0 ]; then
  sudo=
elif sudo -n true 2>/dev/null; then
  sudo="sudo -n"
else
  without "there is no Chromium, and installing it needs root"
fi

apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get "$@" </dev/null; }

echo "Installing Chromium, for the test that opens the report."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt update && apt install -y --no-install-recommends chromium; } >"$log" 2>&1; then
  tail -n 3 "$log" >&2
  without "Chromium could not be installed"
fi
