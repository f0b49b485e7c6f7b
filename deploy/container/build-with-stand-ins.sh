#!/usr/bin/env bash
# Builds the images without a container engine and without a registry: build-with-stand-ins.sh [TARGET...]
# The bases are stand-ins, made of Debian's packages, this machine's .NET SDK and its Node; what is built is the Dockerfile as it is.
# Guarantees: nothing but images of buildah's own store is left behind. Safe to run again; the bases are made once.
# Assumes: root; Debian's buildah and mmdebstrap; dotnet in /usr/share/dotnet; node and npm as packages or Node's own archive have them.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
container=
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null; rm -rf "$work"' EXIT

# stand_in NAME FROM COMMAND...: the command changes $container.
stand_in() {
  local name=$1 from=$2
  shift 2
  ! buildah inspect --type image "stand-in/$name" >/dev/null 2>&1 || return 0
  container=$(buildah from --pull-never "$from")
  "$@"
  buildah commit --quiet "$container" "stand-in/$name" >/dev/null
  buildah rm "$container" >/dev/null
  container=
}

in_container() { buildah run --isolation chroot "$container" -- "$@"; }

debian() {
  mmdebstrap --quiet --variant=minbase --include=ca-certificates trixie "$work/debian.tar"
  buildah add --quiet "$container" "$work/debian.tar" / >/dev/null
  # Whoever vouches for the registries to this machine does so to the builds.
  buildah copy --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt --cmd /bin/bash "$container"
}

sdk() {
  buildah copy --quiet "$container" /usr/share/dotnet /usr/share/dotnet >/dev/null
  in_container ln -s /usr/share/dotnet/dotnet /usr/bin/dotnet
}

node() {
  local npm
  npm=$(dirname "$(dirname "$(realpath "$(command -v npm)")")")
  buildah copy --quiet "$container" "$(realpath "$(command -v node)")" /usr/bin/node >/dev/null
  buildah copy --quiet "$container" "$npm" /usr/lib/node_modules/npm >/dev/null
  in_container ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/bin/npm
}

stand_in debian scratch debian
stand_in sdk stand-in/debian sdk
stand_in node stand-in/debian node
[ $# -gt 0 ] || set -- api migrations worker
for target in "$@"; do
  buildah build --pull-never --isolation chroot --format docker --layers --target "$target" --tag "sandbox-$target" \
    --build-arg DOTNET_SDK=stand-in/sdk --build-arg NODE=stand-in/node --build-arg DEBIAN=stand-in/debian .
done
