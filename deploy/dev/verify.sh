# shellcheck shell=bash
# test, bench and check.
# Guarantees: every process and file of a run lies below one directory of its own, DATA/test-XXXXXX, and is gone afterwards on every
# way out; what a killed run left is removed by the next one. The sum comes from the runners' result files, not from their text.

# One run's own cluster and directory; what tests find in the environment is told in CONTRIBUTING.md.
begin_run() {
  sweep_runs
  run_directory=$(mktemp -d "$DATA/test-XXXXXX")
  chmod 711 "$run_directory"
  remember "$run_directory/owner" $$
  mkdir -m 711 "$run_directory/tmp"
  trap 'end_run; exit 130' INT TERM HUP
  trap 'end_run' EXIT
  trap : PIPE
}

provide_database() {
  SANDBOX_POSTGRES_FSYNC=$1 postgres start "$run_directory/pg"
  SANDBOX_TEST_POSTGRES=$(<"$run_directory/connection")
  export SANDBOX_TEST_POSTGRES SANDBOX_TEST_POSTGRES_DIR=$run_directory/pg
  SANDBOX_TEST_BUILD=$(realpath "$DATA/build")
  export SANDBOX_TEST_BUILD SANDBOX_TEST_IMAGES=$DATA/images SANDBOX_TEST_DIRECTORY=$run_directory/tmp
  SANDBOX_TEST_CHROMIUM=$(command -v chromium || command -v google-chrome || true)
  SANDBOX_TEST_PROMTOOL=$(command -v promtool || true)
  [ -n "$SANDBOX_TEST_PROMTOOL" ] || [ ! -x "$DATA/cache/promtool" ] || SANDBOX_TEST_PROMTOOL=$(realpath "$DATA/cache/promtool")
  SANDBOX_TEST_OPENAPI=
  [ ! -x "$DATA/cache/openapi/node_modules/.bin/redocly" ] || SANDBOX_TEST_OPENAPI=$(realpath "$DATA/cache/openapi")
  export SANDBOX_TEST_OPENAPI SANDBOX_TEST_CHROMIUM SANDBOX_TEST_PROMTOOL SANDBOX_REPOSITORY=$REPOSITORY
}

# The one that the caller names, else the one that "./sandbox image debian" has built: that takes longer than the tests.
find_cloud_image() {
  local built=$DATA/cloud-images/debian/disk.qcow2
  if [ -z "${SANDBOX_TEST_CLOUD_IMAGE:-}" ] && [ -r "$built" ]; then SANDBOX_TEST_CLOUD_IMAGE=$(realpath "$built"); fi
  export SANDBOX_TEST_CLOUD_IMAGE=${SANDBOX_TEST_CLOUD_IMAGE:-}
}

# Where it cannot be had, its tests are skipped and say so.
unpack_promtool() { SANDBOX_CACHE=$DATA/cache deploy/prometheus/promtool.sh "$DATA/cache/promtool" || say "tests have no promtool"; }

# The linters of the API's document, as locked. Where npm cannot bring them, their test is skipped and says so.
openapi_tools() {
  local tools=$DATA/cache/openapi
  ! cmp -s tests/OpenApi/package-lock.json "$tools/node_modules/.locked" || return 0
  mkdir -p "$tools"
  cp tests/OpenApi/package.json tests/OpenApi/package-lock.json tests/OpenApi/.npmrc "$tools"
  if npm ci --prefix "$tools" --no-audit --no-fund --ignore-scripts --loglevel=error; then
    cp tests/OpenApi/package-lock.json "$tools/node_modules/.locked"
  else
    rm -rf "$tools/node_modules"
    say "tests have no OpenAPI linters"
  fi
}

# Processes whose command line, working directory or inherited environment names a run's directory: no other can.
processes_below() {
  local process pid
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    if [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ]; then continue; fi
    if tr '\0' '\n' 2>/dev/null <"$process/cmdline" | grep -qF -- "$1/" ||
      [[ $(readlink "$process/cwd" 2>/dev/null) = "$1"/* ]] ||
      tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qxF -- "SANDBOX_TEST_DIRECTORY=$1/tmp"; then
      echo "$pid"
    fi
  done 2>/dev/null
}

# Whatever was being started while the others were found is found in the next round.
end_processes_below() {
  local directory=$1 tell=$2 pids pid
  for _ in {1..20}; do
    mapfile -t pids < <(processes_below "$directory")
    [ ${#pids[@]} -gt 0 ] || return 0
    for pid in "${pids[@]}"; do
      [ "$tell" != tell ] || say "a test left process $pid behind: $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-120)"
      kill -KILL "$pid" 2>/dev/null || true
    done
    sleep 0.1
  done
}

# remove_run DIRECTORY tell|quiet: the VMs' control groups are the worker's to remove, after its processes.
remove_run() {
  local directory=$1 node
  [ ! -d "$directory/pg" ] || postgres stop "$directory/pg" || true
  end_processes_below "$directory" "$2"
  while IFS= read -r node; do
    dotnet "$DATA/build/worker/Sandbox.Worker.dll" destroy-all --state-directory "${node%/vms}" >/dev/null 2>&1 </dev/null || true
  done < <(find "$directory/tmp" -maxdepth 4 -type d -name vms 2>/dev/null)
  rm -rf "$directory"
}

sweep_runs() {
  local left
  for left in "$DATA"/test-*/; do
    [ -d "$left" ] || continue
    recall "${left}owner" >/dev/null || remove_run "${left%/}" quiet
  done
}

end_run() {
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  end_jobs
  remove_run "$run_directory" "${1:-quiet}"
}

build_tests() {
  local digest
  # shellcheck disable=SC2154
  digest=$(digest_of api worker migrations tests "${shared_sources[@]}")-$(dotnet --version)
  [ "$(cat "$DATA/artifacts/tests.digest" 2>/dev/null)" != "$digest" ] || return 0
  msbuild -t:RestoreTests
  msbuild -t:BuildTests
  echo "$digest" >"$DATA/artifacts/tests.digest"
}

# Everything that tests need, in as few waits as two cores allow.
prepare() {
  local fsync=$1
  shift
  find_cloud_image
  [ -z "$SANDBOX_TEST_CLOUD_IMAGE" ] || set -- "$@" qemu-efi-aarch64
  # shellcheck disable=SC2046
  install_packages $(service_packages) $(node_packages) "$@"
  begin_build RestoreTests
  await
  command -v promtool >/dev/null || [ -x "$DATA/cache/promtool" ] || job "unpacking promtool" unpack_promtool
  job "installing the OpenAPI linters" openapi_tools
  begin_image
  begin_node
  finish_build
  step "building the tests" build_tests
  exec 7>&-
  web_packages_fit || step "installing web packages" web_packages
  await
  provide_node
  provide_database "$fsync"
}

# What benchmarks need: neither the linters nor the emulated node, whose kernel alone takes longer than most of them.
prepare_bench() {
  # shellcheck disable=SC2046
  install_packages $(service_packages)
  begin_build RestoreTests
  await
  begin_image
  finish_build
  step "building the tests" build_tests
  exec 7>&-
  await
  provide_database on
}

# follow NAME COMMAND...: a job whose output is also shown.
follow() {
  local name=$1 log status=0
  shift
  log=$(log_of "$name")
  set -m
  ("$@" 2>&1 | tee "$log") </dev/null 7>&- 8>&- &
  # shellcheck disable=SC2004
  job_pid[$name]=$!
  set +m
  wait "${job_pid[$name]}" || status=$?
  unset "job_pid[$name]"
  return "$status"
}

run_suite() {
  local suite=$1 results=$2 binary
  if [ "$suite" = Page ]; then
    cd web || exit 1
    [ -t 1 ] || export NO_COLOR=1
    CI=true timeout -k 10 600 npx --no-install vitest run --reporter=default --reporter=json --outputFile.json="$results"
  else
    binary=$DATA/artifacts/bin/Sandbox.$suite.Tests/release/Sandbox.$suite.Tests.dll
    cd "${binary%/*}" || exit 1
    TMPDIR=$run_directory/tmp timeout -k 10 2400 dotnet "$binary" -noLogo -noColor -ctrf "$results"
  fi
}

suites() {
  local project name
  [ ! -f web/vitest.config.ts ] || echo Page
  for project in tests/*.Tests/*.csproj; do
    [ -e "$project" ] || continue
    name=$(basename "$project" .Tests.csproj)
    echo "${name#Sandbox.}"
  done
}

run_tests() {
  local known chosen suite status
  resolve_data
  mapfile -t known < <(suites)
  chosen=("${known[@]}")
  if [ $# -gt 0 ]; then
    chosen=("$@")
    for suite in "$@"; do
      [[ " ${known[*]} " = *" $suite "* ]] || fail "there is no suite '$suite'; there are: ${known[*]}"
    done
  fi
  begin_run
  prepare off chromium
  mkdir "$run_directory/results"
  for suite in "${chosen[@]}"; do
    say "suite $suite"
    status=0
    follow "suite $suite" run_suite "$suite" "$run_directory/results/$suite.json" || status=$?
    echo "$status" >"$run_directory/results/$suite.status"
  done
  status=0
  node deploy/dev/results.mjs "$run_directory/results" "${chosen[@]}" >"$run_directory/summary" || status=$?
  end_run_with "$status"
}

# The sum is the last line that is printed, after all the cleaning up.
end_run_with() {
  local summary
  summary=$(<"$run_directory/summary")
  end_run tell
  printf '%s\n' "$summary"
  exit "$1"
}

bench() {
  local binary status=0
  resolve_data
  [ -n "$(find tests/Benchmarks -maxdepth 1 -name '*.csproj' 2>/dev/null)" ] || fail "tests/Benchmarks has no project yet"
  begin_run
  prepare_bench
  binary=$DATA/artifacts/bin/Sandbox.Benchmarks/release/Sandbox.Benchmarks.dll
  TMPDIR=$run_directory/tmp follow "benchmarks" dotnet "$binary" "$@" || status=$?
  exit "$status"
}

# The house rule on lengths, over what is written by hand.
check_lengths() {
  local file lines status=0
  while IFS= read -r file; do
    case $file in *.lock.json | *package-lock.json | migrations/Migrations/* | *.svg | *.png | *.woff2) continue ;; esac
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 500 ]; then
      echo "$file has $lines lines; 500 are the most"
      status=1
    elif [ "$lines" -gt 300 ]; then
      echo "$file has $lines lines: better below 300"
    fi
  done < <(git ls-files --cached --others --exclude-standard)
  return "$status"
}

check_scripts() {
  local scripts
  mapfile -t scripts < <(git grep -lI --untracked -e '^#!/usr/bin/env bash' -e '^# shellcheck shell=' -- . ':!*.md' ':!deploy/dev/verify.sh')
  shellcheck -x -e SC1091 "${scripts[@]}" deploy/dev/verify.sh
}

check() {
  resolve_data
  trap 'end_jobs' EXIT
  trap 'exit 130' INT TERM HUP
  require_dotnet
  require_node
  exec 7>"$DATA/run/build.lock"
  flock 7
  job "file lengths" check_lengths
  web_packages_fit || job "installing web packages" web_packages
  if command -v shellcheck >/dev/null; then job "shell scripts" check_scripts; else say "shell scripts: skipped, shellcheck is not installed"; fi
  step "restoring .NET packages" msbuild -t:RestoreTests
  await
  job "types of the page" npm --prefix web exec -- tsc --noEmit -p web
  job "whitespace" dotnet format whitespace . --folder --verify-no-changes --exclude .sandbox web
  step "building everything" msbuild -t:BuildAll
  await
  exec 7>&-
  cat "$(log_of "file lengths")"
}
