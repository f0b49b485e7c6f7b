# shellcheck shell=bash
# Shared by the verbs: messages, background jobs with their seconds, processes known by pid and start time, where data lie.
# Sourced by ../../sandbox, which sets REPOSITORY.

# Whoever reads this may be gone, a closed terminal or a pipe: that must not keep anything from being stopped.
say() { echo "sandbox: $*" 2>/dev/null || true; }

fail() {
  echo "sandbox: $*" >&2
  exit 1
}

no_arguments() { [ $# -eq 0 ] || fail "unexpected argument '$1'"; }

# Whether other users can reach a directory: PostgreSQL's user and the users of the VMs must reach the data.
others_reach() {
  local directory=$1
  while [ "$directory" != / ]; do
    case $(stat -c %A "$directory") in
      *x | *t) ;;
      *) return 1 ;;
    esac
    directory=$(dirname "$directory")
  done
}

# Sets DATA, the real path of .sandbox. It lies elsewhere when others cannot reach the repository.
resolve_data() {
  local link=$REPOSITORY/.sandbox digest target
  digest=$(printf '%s' "$REPOSITORY" | sha256sum | cut -c 1-12)
  if [ "$(id -u)" = 0 ]; then
    target=/var/lib/sandbox/$digest
  else
    target=${XDG_STATE_HOME:-$HOME/.local/state}/sandbox/$digest
  fi
  if [ "$(id -u)" = 0 ] && ! others_reach "$REPOSITORY"; then
    install -d -m 711 "$(dirname "$target")" "$target"
    if [ -L "$link" ]; then
      rm "$link"
    elif [ -d "$link" ]; then
      find "$link" -mindepth 1 -maxdepth 1 -exec mv -t "$target" {} +
      rmdir "$link"
    fi
    ln -s "$target" "$link"
    DATA=$target
  else
    # A link is of another copy of the repository.
    [ ! -L "$link" ] || rm "$link"
    mkdir -p "$link"
    DATA=$link
  fi
  chmod 711 "$DATA"
  mkdir -p "$DATA"/{log,run,images,cache}
  chmod 700 "$DATA/log" "$DATA/run"
  chmod 711 "$DATA/cache"
  chmod 755 "$DATA/images"
}

# The start time of a living process (clock ticks since boot), with the boot: a pid alone may have been given to somebody else.
identity() {
  local stat fields
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] || return 1
  echo "$1 ${fields[19]} $(</proc/sys/kernel/random/boot_id)"
}

remember() { identity "$2" >"$1"; }

# Prints the pid that a file remembers if that very process still lives.
recall() {
  local remembered
  [ -s "$1" ] || return 1
  remembered=$(<"$1")
  [ "$(identity "${remembered%% *}")" = "$remembered" ] || return 1
  echo "${remembered%% *}"
}

# end_process FILE SECONDS: TERM, then KILL.
end_process() {
  local pid deadline=$((SECONDS + $2))
  if pid=$(recall "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    while recall "$1" >/dev/null; do
      if [ "$SECONDS" -ge "$deadline" ]; then
        say "process $pid ($(basename "$1" .pid)) did not end in $2 s: killed"
        kill -KILL "$pid" 2>/dev/null || true
        deadline=$((SECONDS + 10))
      fi
      sleep 0.1
    done
  fi
  rm -f "$1"
}

# Jobs run in the background in a process group of their own, so that they can be ended with all of their children.
declare -A job_pid=() job_start=()

log_of() { echo "$DATA/log/${1//[^A-Za-z0-9]/-}.log"; }

# job NAME COMMAND...: starts; its output goes to DATA/log.
job() {
  local name=$1 log
  shift
  log=$(log_of "$name")
  rm -f "$log"
  say "$name ..."
  set -m
  ("$@") >"$log" 2>&1 </dev/null 6>&- 7>&- 8>&- &
  job_pid[$name]=$! job_start[$name]=$SECONDS
  set +m
}

# await NAME...: waits for jobs, says how long each took, stops at the first that failed. No name: all.
await() {
  local name status said=$SECONDS
  [ $# -gt 0 ] || set -- "${!job_pid[@]}"
  while [ $# -gt 0 ]; do
    for name in "$@"; do
      shift
      if [ -z "${job_pid[$name]:-}" ]; then
        continue
      elif kill -0 "${job_pid[$name]}" 2>/dev/null; then
        set -- "$@" "$name"
        continue
      fi
      status=0
      wait "${job_pid[$name]}" || status=$?
      unset "job_pid[$name]"
      if [ "$status" != 0 ]; then
        tail -n 40 "$(log_of "$name")" >&2
        fail "$name failed after $((SECONDS - job_start[$name])) s (the whole log: $(log_of "$name"))"
      fi
      say "$name: $((SECONDS - job_start[$name])) s"
    done
    if [ $# -gt 0 ]; then
      if [ $((SECONDS - said)) -ge 20 ]; then
        said=$SECONDS
        for name in "$@"; do say "still: $name, $((SECONDS - job_start[$name])) s"; done
      fi
      sleep 0.2
    fi
  done
}

end_jobs() {
  local name
  for name in "${!job_pid[@]}"; do
    kill -TERM -- "-${job_pid[$name]}" 2>/dev/null || true
  done
  for name in "${!job_pid[@]}"; do
    wait "${job_pid[$name]}" 2>/dev/null || true
    kill -KILL -- "-${job_pid[$name]}" 2>/dev/null || true
    unset "job_pid[$name]"
  done
}

step() {
  job "$@"
  await "$1"
}

postgres() { "$REPOSITORY/deploy/dev/postgres.sh" "$@" 7>&- 8>&-; }
