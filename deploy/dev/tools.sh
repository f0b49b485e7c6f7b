# shellcheck shell=bash
# What the machine must have: Debian packages (installed), the .NET SDK and Node (checked only).

require_dotnet() {
  command -v dotnet >/dev/null || fail "the .NET 10 SDK is missing: install it, then run this again (its command is 'dotnet')"
  dotnet --list-sdks 2>/dev/null | grep -q '^10\.' ||
    fail "the .NET 10 SDK is missing; installed: $(dotnet --list-sdks 2>/dev/null | cut -d' ' -f1 | tr '\n' ' ')"
  # Nothing of a build may stay behind, and no first-run text in a log.
  export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_CLI_USE_MSBUILD_SERVER=0 MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false
}

require_node() {
  command -v node >/dev/null || fail "Node 20.19 or newer is missing: install it, then run this again"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node 20.19 or newer is needed; this is $(node --version)"
  command -v npm >/dev/null || fail "npm is missing: it belongs to Node"
}

service_packages() {
  echo ca-certificates curl git postgresql qemu-system-arm util-linux
  sed 's/#.*//' "$REPOSITORY/deploy/guest-image/packages" | tr '\n' ' '
}

missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

# install_packages PACKAGE...: with apt, if anything is missing.
install_packages() {
  local missing line command
  if ! command -v apt-get >/dev/null; then
    for command in curl qemu-system-aarch64 setpriv flock clang; do
      command -v "$command" >/dev/null || fail "this is no Debian, and $command is missing; on Debian it would be one of: $*"
    done
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  line="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    as_root=()
  elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    fail "packages are missing, and this user is neither root nor has sudo without a password. Run:
  sudo apt-get update && sudo $line"
  fi
  job "installing ${#missing[@]} Debian packages" apt_install "${missing[@]}"
}

apt_install() {
  local settings=/etc/postgresql-common/createcluster.conf ours=
  # No system-wide cluster for a database that this project does not use.
  if [[ " $* " = *" postgresql "* ]] && [ ! -e "$settings" ]; then
    "${as_root[@]}" mkdir -p "${settings%/*}"
    echo "create_main_cluster = false" | "${as_root[@]}" tee "$settings"
    ours=yes
  fi
  apt_get install -y --no-install-recommends "$@" || {
    apt_get update
    apt_get install -y --no-install-recommends "$@"
  }
  [ -z "$ours" ] || "${as_root[@]}" cp /usr/share/postgresql-common/createcluster.conf "$settings"
}

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
    apt-get -q -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold "$@"
}
