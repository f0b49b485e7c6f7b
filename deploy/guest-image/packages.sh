# Debian's arm64 packages with the machine's own mirror, suite, keyring and proxy, apart from the machine's own package state.
# Guarantees: only what apt verified by the machine's keyring is unpacked; nothing outside of $cache is written.
# Sourced by build.sh, which sets $cache.

apt_config() {
  local state=$cache/apt
  mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/empty.d" "$cache/debs"
  : >"$state/status"
  cat >"$state/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
APT::Update::Post-Invoke { "true"; };
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Dir::Cache "$state";
Dir::State::Lists "$state/lists";
Dir::State::status "$state/status";
Dir::Etc::sourcelist "$state/debian.sources";
Dir::Etc::sourceparts "$state/empty.d";
END
  # Each of the machine's own Debian suites with its mirror: security has another one than the rest.
  apt-get indextargets --format '$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)|$(CODENAME)' 'Identifier: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "main" && $4 !~ /-backports/ { print $3 "|" $4 "|" $5 }' | sort -u >"$state/suites"
  [ -s "$state/suites" ] || fail "apt knows no Debian mirror: run apt-get update, then see apt-get indextargets"
  local uri release codename backports=
  : >"$state/debian.sources"
  while IFS='|' read -r uri release codename; do
    source_stanza "$uri" "$release"
    # Bookworm's own kernel has no virtio-iommu driver; the one of its backports has.
    [ "$codename" != bookworm ] || backports=$uri
  done <"$state/suites"
  export APT_CONFIG=$state/apt.conf
  if [ -n "$backports" ]; then
    cp "$state/debian.sources" "$state/own.sources"
    source_stanza "$backports" bookworm-backports
    update_lists && return
    echo "guest image: no bookworm-backports on this mirror: a guest will see no virtio-iommu"
    cp "$state/own.sources" "$state/debian.sources"
  fi
  update_lists || { cat "$state/update.log" >&2; fail "could not read the mirror's package lists"; }
}

update_lists() {
  apt-get -q -o APT::Update::Error-Mode=any update >"$cache/apt/update.log" 2>&1
}

source_stanza() {
  local keyring=/usr/share/keyrings/debian-archive-keyring
  [ -e "$keyring.gpg" ] && keyring=$keyring.gpg || keyring=$keyring.pgp
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$1" "$2" "$keyring" >>"$cache/apt/debian.sources"
}

# Names of the newest kernel and of the packages that hold its image and modules (from 7.3 on they are two).
kernel_packages() {
  local newest
  newest=$(apt-cache madison linux-image-cloud-arm64 | awk -F' *[|] *' '$3 ~ /Packages/ { print $2 }' | sort -V | tail -n 1)
  [ -n "$newest" ] || fail "the mirror has no linux-image-cloud-arm64"
  apt-cache show "linux-image-cloud-arm64=$newest" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/ *(.*//; s/^ *//' | grep -E '^linux-(image|binary|modules)-' ||
    fail "linux-image-cloud-arm64 $newest depends on no kernel"
}

# fetch PACKAGE...: brings the newest version of each into the cache. apt checks what lies there already against the signed lists.
fetch() {
  apt-get -q --print-uris download "$@" >"$cache/apt/uris" || fail "the mirror lacks one of: $*"
  (cd "$cache/debs" && apt-get -q download "$@") >"$cache/apt/download.log" 2>&1 || {
    cat "$cache/apt/download.log" >&2
    fail "could not download: $*"
  }
  local file
  for file in "$cache/debs"/*.deb; do
    grep -qF " ${file##*/} " "$cache/apt/uris" || rm -f "$file"
  done
}

# unpack DIR PACKAGE...: of those that were fetched.
unpack() {
  local into=$1 package
  shift
  mkdir -p "$into"
  for package in "$@"; do
    dpkg-deb -x "$cache/debs/$(awk -v start="${package}_" 'index($2, start) == 1 { print $2 }' "$cache/apt/uris")" "$into"
  done
}
