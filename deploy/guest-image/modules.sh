# Kernel modules in the order in which they must be loaded. What the kernel has built in needs no file and is left out.
# Sourced by build.sh.

# module_order TREE NAME...: the files of these modules after those of the modules that they depend on.
module_order() {
  local tree=$1 name
  shift
  for name in "$@"; do
    add_module "$tree" "$name"
  done | awk '!seen[$0]++'
}

add_module() {
  local tree=$1 name=${2//[-_]/[-_]} file plain dependency
  file=$(find "$tree" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
  [ -n "$file" ] || return 0
  plain=${file%.xz}
  [ "$plain" = "$file" ] || [ -e "$plain" ] || xz -dk "$file"
  for dependency in $(tr '\0' '\n' <"$plain" | sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$tree" "$dependency"
  done
  echo "$plain"
}
