#!/usr/bin/env bash
# Prometheus' own checker of metrics and rules, for tests, from Debian's package and not installed: promtool.sh OUT_FILE
# Guarantees: OUT_FILE appears whole or not at all; no service of Prometheus is installed or started.
# Downloads stay in $SANDBOX_CACHE (default: beside OUT_FILE). A crash leaves what was begun, which the next run removes.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  echo "promtool: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: promtool.sh OUT_FILE"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$(dirname "$out")}")
mkdir -p "$cache" "$(dirname "$out")"
(umask 077 && : >>"$cache/promtool.lock")
exec 9>"$cache/promtool.lock"
flock 9
[ ! -x "$out" ] || exit 0
rm -rf "$(dirname "$out")"/.promtool-??????
work=$(mktemp -d "$(dirname "$out")/.promtool-XXXXXX")
trap 'rm -rf "$work"' EXIT

. "$here/../packages/apt.sh"
apt_config promtool "$(dpkg --print-architecture)" own
fetch prometheus
unpack "$work/tree" prometheus
"$work/tree/usr/bin/promtool" --version >/dev/null 2>&1 || fail "Debian's promtool does not start here"
mv "$work/tree/usr/bin/promtool" "$out"
