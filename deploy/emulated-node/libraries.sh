# shellcheck shell=bash
# Programs with just the shared libraries that they need, out of a tree of unpacked packages.
# Sourced by build.sh and qemu.sh, which define fail.

needed_by() { llvm-readelf -d "$@" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | sort -u; }

# library_file TREE NAME: Debian's own folders for libraries, and no folder of somebody's plug-ins below them.
library_file() {
  local directory
  for directory in "$1"/usr/lib/*-linux-gnu "$1"/usr/lib "$1"/usr/lib64 "$1"/lib/*-linux-gnu "$1"/lib64; do
    [ ! -e "$directory/$2" ] || { echo "$directory/$2" && return; }
  done
  return 1
}

# copy_libraries TREE INTO FILE...: everything that these are linked with, and what that is linked with.
copy_libraries() {
  local tree=$1 into=$2 name found
  local -A seen=()
  shift 2
  mkdir -p "$into"
  while [ $# -gt 0 ]; do
    local names=() files=()
    mapfile -t names < <(needed_by "$@")
    for name in "${names[@]}"; do
      [ -z "${seen[$name]:-}" ] || continue
      seen[$name]=yes
      found=$(library_file "$tree" "$name") || fail "no package of the closure has $name"
      cp -L "$found" "$into/$name"
      files+=("$found")
    done
    set -- "${files[@]}"
  done
}
