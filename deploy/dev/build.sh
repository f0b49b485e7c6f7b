# shellcheck shell=bash
# Builds. DATA/build is a link to a complete build that is named by the digest of everything it was built from,
# so that an unchanged tree builds nothing and a running service keeps the files it was started from.
# begin_build takes the build lock (descriptor 7); whoever calls it lets go of it after finish_build.

# digest_of PATH...: of the contents of all tracked and new files.
digest_of() {
  local path paths=()
  for path in "$@"; do [[ $path = :* ]] || paths+=("$path"); done
  {
    git ls-files -z --cached --others --exclude-standard -- "$@" 2>/dev/null ||
      find "${paths[@]}" \( -name bin -o -name obj -o -name node_modules -o -name dist \) -prune -o -type f -print0
  } | sort -zu | while IFS= read -rd '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
    xargs -0r sha256sum | sha256sum | cut -c 1-16
}

shared_sources=(Directory.Build.props Directory.Packages.props global.json BannedSymbols.txt .editorconfig deploy/dev/build.proj)

services_digest() {
  echo "$(digest_of api worker migrations web "${shared_sources[@]}" ':!worker/GuestAgent' ':!*.md')-$(dotnet --version)-$(node --version)"
}

# The agent is also built from what it shares with the worker.
image_digest() { digest_of deploy/guest-image deploy/packages worker/GuestAgent worker/Faults/SmmuLogLine.cs worker/Faults/Tracing/HistogramText.cs api/Contracts "${shared_sources[@]}"; }

msbuild() {
  dotnet msbuild deploy/dev/build.proj -nologo -v:minimal -clp:NoSummary -m -nodeReuse:false "-p:Configuration=Release" \
    -p:UseArtifactsOutput=true "-p:ArtifactsPath=$DATA/artifacts" "$@"
}

# Whether web/node_modules holds what the lock file names, whoever put it there.
web_packages_fit() {
  node -e '
    const read = path => JSON.parse(require("fs").readFileSync(path)).packages;
    const have = read("web/node_modules/.package-lock.json");
    const fits = Object.entries(read("web/package-lock.json"))
      .every(([path, entry]) => path === "" || (have[path] ? have[path].version === entry.version : entry.optional || entry.peer));
    process.exit(fits ? 0 : 1);' 2>/dev/null
}

web_packages() { web_packages_fit || npm --prefix web ci --no-audit --no-fund --loglevel=error; }

build_web() { npm --prefix web run build -- --outDir "$1" --emptyOutDir; }

publish_services() {
  local into=$1 project project_file
  msbuild -t:PublishServices
  for project in api worker migrations; do
    for project_file in "$project"/*.csproj; do
      [ -e "$project_file" ] || continue
      cp -R "$DATA/artifacts/publish/$(basename "$project_file" .csproj)/release" "$into/$project"
    done
  done
}

# Starts what can run beside the installation of packages; finish_build waits for it.
begin_build() {
  require_dotnet
  require_node
  # One build at a time: up and test share the folders.
  exec 7>"$DATA/run/build.lock"
  flock -n 7 || { say "waiting for another build to end" && flock 7; }
  build_digest=$(services_digest)
  [ ! -e "$DATA/builds/$build_digest/complete" ] || return 0
  job "restoring .NET packages" msbuild "-t:${1:-RestoreServices}"
  web_packages_fit || job "installing web packages" web_packages
}

finish_build() {
  local build=$DATA/builds/$build_digest
  if [ ! -e "$build/complete" ]; then
    rm -rf "$build"
    mkdir -p "$build"
    await "restoring .NET packages"
    job "building API, worker and migrations" publish_services "$build"
    await "installing web packages"
    job "building the page" build_web "$build/web"
    await "building API, worker and migrations" "building the page"
    touch "$build/complete"
  fi
  touch "$build"
  ln -sfn "builds/$build_digest" "$DATA/build.new"
  mv -fT "$DATA/build.new" "$DATA/build"
  find "$DATA/builds" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- | xargs -r -d '\n' rm -rf
}

build_image() {
  local digest
  digest=$(image_digest)
  SANDBOX_CACHE=$DATA/cache deploy/guest-image/build.sh "$DATA/images/guest"
  echo "$digest" >"$DATA/cache/image.digest"
}

begin_image() {
  if [ -e "$DATA/images/guest/image.json" ] && [ "$(cat "$DATA/cache/image.digest" 2>/dev/null)" = "$(image_digest)" ]; then
    return 0
  fi
  job "building the guest image" build_image
}

image() {
  [ $# -le 1 ] || fail "unexpected argument '$2': ./sandbox image [debian]"
  resolve_data
  case ${1:-guest} in
    guest) guest_image ;;
    debian) cloud_image ;;
    *) fail "there is no image '$1' to build: ./sandbox image, or ./sandbox image debian" ;;
  esac
}

guest_image() {
  require_dotnet
  # shellcheck disable=SC2046
  install_packages $(service_packages)
  await
  step "building the guest image" build_image
  say "$DATA/images/guest"
}

# A Debian with cloud-init, of its packages. Apart from the guest image, which the nodes here offer: a test boots it where it was built.
cloud_image() {
  # shellcheck disable=SC2046
  install_packages ca-certificates $(sed 's/#.*//' deploy/cloud-image/packages)
  await
  mkdir -p "$DATA/cloud-images"
  SANDBOX_CACHE=$DATA/cache step "building a cloud image" deploy/cloud-image/build.sh "$DATA/cloud-images/debian"
  tail -n 1 "$(log_of "building a cloud image")"
}
