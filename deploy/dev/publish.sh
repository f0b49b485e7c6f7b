# shellcheck shell=bash
# publish DIR: what is installed on Debian or Ubuntu without containers, laid out below DIR as below / (docs/install.md).
# Guarantees: DIR appears complete or not at all; it holds no secret and no setting of this machine, and every user may read its files.

publish() {
  local target=${1:-}
  if [ $# -ne 1 ] || [ -z "$target" ]; then fail "which directory? ./sandbox publish DIR"; fi
  [ ! -e "$target" ] || [ -z "$(ls -A "$target" 2>&1)" ] || fail "$target is not empty: publish makes its own directory"
  target=$(realpath -m "$target")
  published=
  trap 'end_jobs; [ -z "$published" ] || rm -rf "$published"' EXIT
  trap 'exit 130' INT TERM HUP
  resolve_data
  # shellcheck disable=SC2046
  install_packages ca-certificates git $(sed 's/#.*//' "$REPOSITORY/deploy/guest-image/packages")
  begin_build
  await
  begin_image
  finish_build
  await
  exec 7>&-
  mkdir -p "$(dirname "$target")"
  published=$(mktemp -d "$(dirname "$target")/.publish-XXXXXX")
  lay_out "$(realpath "$DATA/build")" "$published"
  [ ! -e "$target" ] || rmdir "$target"
  mv -T "$published" "$target"
  published=
  say "$target ($(du -sh "$target" | cut -f1)) is what belongs below / of the machines: docs/install.md goes on from here"
}

lay_out() {
  local build=$1 into=$2 part
  mkdir -p "$into"/{opt/sandbox,etc/sandbox,usr/lib/{systemd/system,sysusers.d,tmpfiles.d},var/lib/sandbox/images}
  for part in api migrations worker web; do cp -R "$build/$part" "$into/opt/sandbox/$part"; done
  cp -R "$DATA/images/guest" "$into/var/lib/sandbox/images/guest"
  cp deploy/systemd/*.service "$into/usr/lib/systemd/system/"
  for part in sysusers tmpfiles; do cp "deploy/systemd/sandbox.$part.conf" "$into/usr/lib/$part.d/sandbox.conf"; done
  cp deploy/systemd/*.env.example "$into/etc/sandbox/"
  chmod -R u+rwX,go+rX,go-w "$into"
  chmod 711 "$into/var/lib/sandbox"
}
