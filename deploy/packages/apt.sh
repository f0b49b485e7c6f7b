# shellcheck shell=bash
# Debian's packages of any architecture and suite with the machine's own mirror, keyring and proxy, apart from the machine's own
# package state. Nothing is installed: packages are unpacked into directories.
# Guarantees: only what apt verified by the machine's keyring is unpacked; nothing outside of $cache is written.
# Assumes: a Debian, or a relative of it with Debian's keyring and SANDBOX_DEBIAN_MIRROR, the address of a mirror. One user of a NAME at a time.
# A crash: the next apt_config and fetch put it right; apt checks again what lies in the cache.
# Sourced by the builds, which set $cache and define fail.

# apt_config NAME ARCHITECTURE SUITE...: all that follows is about these suites; "own" stands for the machine's own.
# A suite with a question mark at its end may be missing: then $apt_missing names it.
apt_config() {
  local name=$1 architecture=$2 suite
  shift 2
  apt_state=${cache:?}/packages/$name apt_missing=
  mkdir -p "$apt_state"/{lists/partial,archives/partial,empty.d,debs}
  : >"$apt_state/status"
  cat >"$apt_state/apt.conf" <<END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
APT::Update::Post-Invoke { "true"; };
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Dir::Cache "$apt_state";
Dir::State::Lists "$apt_state/lists";
Dir::State::status "$apt_state/status";
Dir::Etc::sourcelist "$apt_state/debian.sources";
Dir::Etc::sourceparts "$apt_state/empty.d";
END
  own_suites >"$apt_state/suites"
  [ -s "$apt_state/suites" ] ||
    fail "apt knows no Debian mirror. On Debian run apt-get update; elsewhere install debian-archive-keyring and set SANDBOX_DEBIAN_MIRROR to the address of a mirror"
  export APT_CONFIG=$apt_state/apt.conf
  write_sources "${@%\?}"
  update_lists && return
  for suite in "$@"; do
    shift
    if [[ $suite = *\? ]]; then apt_missing=${suite%\?}; else set -- "$@" "$suite"; fi
  done
  if [ -n "$apt_missing" ]; then
    write_sources "$@"
    update_lists && return
  fi
  cat "$apt_state/update.log" >&2
  fail "could not read the mirror's package lists"
}

# Each of the machine's own Debian suites with its mirror: security has another one than the rest.
own_suites() {
  (
    unset APT_CONFIG
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)|$(CODENAME)' 'Identifier: Packages'
  ) | awk -F'|' '$1 == "Debian" && $2 == "main" && $4 !~ /-backports/ { print $3 "|" $4 "|" $5 }' | sort -u | grep . ||
    [ -z "${SANDBOX_DEBIAN_MIRROR:-}" ] || echo "$SANDBOX_DEBIAN_MIRROR|trixie|trixie"
}

# The codename of the machine's own release.
own_codename() { own_suites | awk -F'|' '$2 !~ /-/ && !seen { print $3; seen = 1 }'; }

write_sources() {
  local wanted uri release
  : >"$apt_state/debian.sources"
  for wanted in "$@"; do
    while IFS='|' read -r uri release _; do
      if [ "$wanted" = own ]; then
        source_stanza "$uri" "$release"
      elif [[ $release != *-* ]]; then
        source_stanza "$uri" "$wanted"
        break
      fi
    done <"$apt_state/suites"
  done
}

source_stanza() {
  local keyring=/usr/share/keyrings/debian-archive-keyring
  [ -e "$keyring.gpg" ] && keyring=$keyring.gpg || keyring=$keyring.pgp
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$1" "$2" "$keyring" >>"$apt_state/debian.sources"
}

update_lists() {
  apt-get -q -o APT::Update::Error-Mode=any update >"$apt_state/update.log" 2>&1
}

# newest_of PACKAGE: its newest version in these suites.
newest_of() {
  apt-cache madison "$1" | awk -F' *[|] *' '$3 ~ /Packages/ { print $2 }' | sort -V | tail -n 1
}

# fetch PACKAGE...: brings the newest version of each into the cache. apt checks what lies there already against the signed lists.
fetch() {
  apt-get -q --print-uris download "$@" >"$apt_state/uris" || fail "the mirror lacks one of: $*"
  (cd "$apt_state/debs" && apt-get -q download "$@") >"$apt_state/download.log" 2>&1 || {
    cat "$apt_state/download.log" >&2
    fail "could not download: $*"
  }
  local file
  for file in "$apt_state/debs"/*.deb; do
    grep -qF " ${file##*/} " "$apt_state/uris" || rm -f "$file"
  done
}

# prefer SUITE: its versions are taken before others, also by fetch.
prefer() { echo "APT::Default-Release \"$1\";" >>"$apt_state/apt.conf"; }

# closure PACKAGE...: the names of these and of all packages that they depend on.
closure() {
  apt-get -q -y --no-install-recommends --print-uris install "$@" >"$apt_state/closure" 2>"$apt_state/closure.log" || {
    cat "$apt_state/closure.log" >&2
    fail "cannot satisfy the dependencies of: $*"
  }
  sed -n "s/^'[^']*' \([^_ ]*\)_.*/\1/p" "$apt_state/closure"
}

deb_of() {
  echo "$apt_state/debs/$(awk -v start="$1_" 'index($2, start) == 1 { print $2 }' "$apt_state/uris")"
}

# unpack DIR PACKAGE...: of those that were fetched.
unpack() {
  local into=$1 package
  shift
  mkdir -p "$into"
  for package in "$@"; do
    dpkg-deb -x "$(deb_of "$package")" "$into"
  done
}
