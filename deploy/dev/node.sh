# shellcheck shell=bash
# The emulated node: what it is made of, and "./sandbox node" that runs one against a running "./sandbox up".
# DATA/emulator holds qemu, root and kernel: links to complete builds, named by the digest of what they were built from.
# DATA/emulated-node is the node's own.
# Guarantees: one node here at a time; Ctrl-C, down and a lost terminal end it, with its guests.
# A crash of this script leaves the node running: the next one, or down, ends it by its pid and start time.

# What the builds need on this machine; a kernel that the caller has needs no build.
node_packages() {
  sed 's/#.*//' "$REPOSITORY/deploy/emulated-node/packages" | tr '\n' ' '
  [ -z "${SANDBOX_NODE_KERNEL:-}" ] || return 0
  sed 's/#.*//' "$REPOSITORY/deploy/kernel/packages" | tr '\n' ' '
  [ "$(uname -m)" = aarch64 ] || echo gcc-aarch64-linux-gnu
}

# part PART DIGEST FILE WHAT COMMAND...: a job that builds it with COMMAND FOLDER [--emulated-node], unless FILE is there.
# A failure is written down, and is for whoever needs the node: tests without it must run.
part() {
  local part=$1 folder=parts/$1-$2 file=$3 what=$4
  shift 4
  if [ -e "$DATA/emulator/$folder/$file" ]; then
    use_part "$part" "$folder"
  else
    job "$what" build_part "$part" "$folder" "$what" "$@"
  fi
}

build_part() {
  local part=$1 folder=$2 what=$3
  shift 3
  if SANDBOX_CACHE=$DATA/cache "$@"; then
    use_part "$part" "$folder"
  else
    echo "$what failed; see $(log_of "$what")" >"$DATA/emulator/$part.failure"
  fi
}

# A running node keeps the folders that it was started with: those of the last build stay.
use_part() {
  local part=$1 folder=$2
  touch "$DATA/emulator/$folder"
  ln -sfn "$folder" "$DATA/emulator/$part.new"
  mv -fT "$DATA/emulator/$part.new" "$DATA/emulator/$part"
  find "$DATA/emulator/parts" -mindepth 1 -maxdepth 1 -name "$part-*" -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d' ' -f2- | xargs -r -d '\n' rm -rf
}

# The parts of the emulated node as jobs, those that are not built already.
begin_node() {
  local digest parts=$DATA/emulator/parts
  mkdir -p "$parts"
  chmod 755 "$DATA/emulator" "$parts"
  rm -f "$DATA/emulator"/*.failure
  # Whoever starts a node later may stand in another directory.
  [ ! -r "${SANDBOX_NODE_KERNEL:-}" ] || SANDBOX_NODE_KERNEL=$(realpath "$SANDBOX_NODE_KERNEL")
  if [ -z "${SANDBOX_NODE_KERNEL:-}" ]; then
    digest=$(digest_of deploy/kernel deploy/packages)
    part kernel "$digest" Image "building the emulated node's kernel" nice -n 10 deploy/kernel/build.sh "$parts/kernel-$digest" --emulated-node
  fi
  digest=$(digest_of deploy/emulated-node/qemu.sh deploy/emulated-node/libraries.sh deploy/packages)
  part qemu "$digest" bin/qemu-system-aarch64 "unpacking a new QEMU" deploy/emulated-node/qemu.sh "$parts/qemu-$digest"
  digest=$(node_root_digest)
  part root "$digest" usr/sbin/Sandbox.Worker "building the emulated node" deploy/emulated-node/build.sh "$parts/root-$digest"
}

node_root_digest() {
  {
    # shellcheck disable=SC2154
    digest_of deploy/emulated-node deploy/packages worker api/Contracts "${shared_sources[@]}" ':!worker/GuestAgent' \
      ':!deploy/emulated-node/run.sh' ':!deploy/emulated-node/qemu.sh' ':!*.md'
    [ -z "${SANDBOX_NODE_LKVM:-}" ] || sha256sum <"$SANDBOX_NODE_LKVM"
  } | sha256sum | cut -c 1-16
}

# Why there is no node, if there is none. After await.
node_failure() {
  local failure
  if [ -n "${SANDBOX_NODE_KERNEL:-}" ] && [ ! -r "$SANDBOX_NODE_KERNEL" ]; then
    echo "SANDBOX_NODE_KERNEL names no file that can be read"
    return
  fi
  for failure in "$DATA"/emulator/{kernel,qemu,root}.failure; do
    [ ! -s "$failure" ] || { cat "$failure" && return; }
  done
}

# For tests: empty where it cannot be had, with the reason.
provide_node() {
  local failure
  export SANDBOX_TEST_NODE="" SANDBOX_TEST_QEMU=""
  [ ! -e "$DATA/emulator/qemu/bin/qemu-system-aarch64" ] || SANDBOX_TEST_QEMU=$DATA/emulator/qemu/bin/qemu-system-aarch64
  failure=$(node_failure)
  if [ -n "$failure" ] && [ -n "$SANDBOX_TEST_QEMU" ] && [ ! -s "$DATA/emulator/qemu.failure" ]; then
    # The mirror that had QEMU has all else: what failed is ours.
    fail "there is no emulated node, and it is not this machine's fault: $failure"
  elif [ -n "$failure" ]; then
    say "tests have no emulated node: $failure"
  else
    SANDBOX_TEST_NODE=$DATA/emulator
  fi
}

# ask_api METHOD PATH BODY: as the administrator of this machine's API.
ask_api() {
  curl -sS --max-time 10 --fail-with-body -X "$1" -H @<(printf 'Authorization: Bearer %s\n' "$(<"$DATA/admin.key")") \
    -H 'Content-Type: application/json' -d "$3" "http://127.0.0.1:$port$2"
}

# A node that joined keeps its own token; only a new one has to be let in.
provide_join_token() {
  local answer token
  [ ! -s "$1/state/node.token" ] || return 0
  answer=$(ask_api POST /v1/nodes/join-tokens '{"name":"emulated"}') || fail "the API gives no join token: $answer"
  token=$(node -e 'console.log(JSON.parse(process.argv[1]).token)' "$answer") || fail "the API's answer holds no join token"
  mkdir -p "$1/config"
  (umask 077 && printf '%s\n' "$token" >"$1/config/join.token")
}

# A "./sandbox node" of another shell, which may still be building; it ends its node itself.
end_node_verb() {
  local pid deadline=$((SECONDS + 90))
  pid=$(recall "$DATA/run/node.pid") || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while recall "$DATA/run/node.pid" >/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || fail "process $pid, a ./sandbox node, does not stop; see $DATA/log"
    sleep 0.1
  done
}

# Guests end first: the node is told to power off, and ended when it does not.
end_node() {
  local pid deadline=$((SECONDS + 30)) directory=$DATA/emulated-node
  pid=$(recall "$DATA/run/emulated-node.pid") || return 0
  say "the emulated node powers down"
  node -e '
    const socket = require("net").connect(process.argv[1], () => socket.end("poweroff\n"));
    socket.on("error", () => {});' "$directory/shell.sock" 2>/dev/null || true
  while recall "$DATA/run/emulated-node.pid" >/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
  end_process "$DATA/run/emulated-node.pid" 5
}

# Called node_verb, because node is Node.js.
node_verb() {
  local port=8080 status=0 directory pid failure
  while [ $# -gt 0 ]; do
    case $1 in
      --port) port=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
      --port=*) port=${1#*=} && shift ;;
      *) fail "unexpected argument '$1': ./sandbox node [--port N]" ;;
    esac
  done
  resolve_data
  directory=$DATA/emulated-node
  exec 6>"$DATA/run/node.lock"
  flock -n 6 || fail "an emulated node runs here already; ./sandbox down ends it"
  remember "$DATA/run/node.pid" $$
  require_dotnet
  require_node
  api_is_healthy || fail "no API answers on port $port: start ./sandbox up first (./sandbox node --port N takes another port)"
  trap 'trap "" INT TERM HUP; end_jobs; end_node; exit 130' INT TERM HUP
  trap 'trap "" INT TERM HUP; end_jobs; end_node' EXIT
  end_node
  # shellcheck disable=SC2046
  install_packages $(service_packages) $(node_packages)
  await
  begin_node
  await
  failure=$(node_failure)
  [ -z "$failure" ] || fail "there is no emulated node: $failure"
  provide_join_token "$directory"
  set -m
  deploy/emulated-node/run.sh "$DATA/emulator" "$directory" "$DATA/images" "$port" </dev/null >"$DATA/log/emulated-node.log" 2>&1 6>&- &
  pid=$!
  set +m
  remember "$DATA/run/emulated-node.pid" "$pid"
  cat <<END

The emulated node starts; in a few seconds it is among http://127.0.0.1:$port/v1/nodes as "emulated".
  console    $directory/console.log
  worker     $directory/log/worker.log
  root shell socat - UNIX-CONNECT:$directory/shell.sock   (neither prompt nor echo)
  stop       Ctrl-C here, or ./sandbox down

END
  wait "$pid" || status=$?
  rm -f "$DATA/run/emulated-node.pid"
  [ "$status" = 0 ] || tail -n 20 "$DATA/log/emulated-node.log" "$directory/console.log" >&2
  say "the emulated node ended (status $status)"
  return "$status"
}
