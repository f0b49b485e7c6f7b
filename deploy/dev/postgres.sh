#!/usr/bin/env bash
# A private PostgreSQL cluster: postgres.sh start|stop|restart|restart-at-once|kill|status DIR [CONNECTION_FILE]
# Guarantees: DIR appears complete or not at all; start and stop may be called in any state, also after a SIGKILL or a reboot;
# the server listens on 127.0.0.1 only, and its one login is the role whose password CONNECTION_FILE (0600) holds.
# Assumes: a PostgreSQL server package, and, for root, its user "postgres": the server refuses to run as root.
# A crash in the middle: nothing to undo, the next call puts it right. "kill" is such a crash, for tests;
# "restart-at-once" ends connections without a word and recovers, as pg_ctl does with -m immediate.
# SANDBOX_POSTGRES_FSYNC=off: for throwaway data.
set -euo pipefail
umask 077

usage() {
  echo "usage: postgres.sh start|stop|restart|restart-at-once|kill|status DIR [CONNECTION_FILE]" >&2
  exit 2
}

fail() {
  echo "postgres: $*" >&2
  exit 1
}

if [ $# -lt 2 ] || [ $# -gt 3 ]; then usage; fi
action=$1
directory=$(realpath -m "$2")
connection=$(realpath -m "${3:-$directory/../connection}")

# The newest installed server, or the one that made the cluster.
find_binaries() {
  local candidate
  if [ -f "$directory/PG_VERSION" ]; then
    candidate=/usr/lib/postgresql/$(<"$directory/PG_VERSION")/bin
  else
    candidate=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
  fi
  if [ ! -x "$candidate/pg_ctl" ] && command -v pg_config >/dev/null; then
    candidate=$(pg_config --bindir)
  fi
  if [ ! -x "$candidate/pg_ctl" ] || [ ! -x "$candidate/initdb" ]; then
    fail "no PostgreSQL server found: install the package postgresql"
  fi
  binaries=$candidate
  if [ -f "$directory/PG_VERSION" ] && [ "$("$binaries/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')" != "$(<"$directory/PG_VERSION")" ]; then
    fail "$directory was made by PostgreSQL $(<"$directory/PG_VERSION"), which is not installed any more"
  fi
}

# Runs one of the server's programs in DIR, as the unprivileged user, with nothing of the caller's environment.
as_server() {
  local program=$1 place=/
  shift
  [ ! -d "$directory" ] || place=$directory
  local command=(env -i -C "$place" PATH=/usr/bin:/bin LANG=C.UTF-8 TZ=UTC "$binaries/$program" "$@")
  if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || fail "the user postgres does not exist: install the package postgresql"
    command=(setpriv --reuid=postgres --regid=postgres --init-groups -- "${command[@]}")
  fi
  "${command[@]}" 9>&-
}

owned_by_server() {
  [ "$(id -u)" != 0 ] || chown postgres:postgres "$@"
}

random_hex() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

create() {
  local new=$directory.new password
  rm -rf "$new"
  mkdir -p "$(dirname "$directory")"
  mkdir "$new"
  password=$(random_hex)
  random_hex >"$new.superuser"
  owned_by_server "$new" "$new.superuser"
  # The superuser's password is thrown away: nobody logs in as it.
  as_server initdb -D "$new" -U postgres --encoding=UTF8 --locale=C --auth=scram-sha-256 --pwfile="$new.superuser" --no-sync >"$new.log" 2>&1 || {
    cat "$new.log" >&2
    fail "initdb failed"
  }
  rm -f "$new.superuser" "$new.log"
  cat >>"$new/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = 128MB
fsync = ${SANDBOX_POSTGRES_FSYNC:-on}
timezone = 'UTC'
log_line_prefix = '%m [%p] '
END
  echo "host all all 127.0.0.1/32 scram-sha-256" >"$new/pg_hba.conf"
  as_server postgres --single -D "$new" -c log_statement=none postgres >/dev/null 2>"$new/server.log" <<END
CREATE ROLE sandbox LOGIN CREATEDB PASSWORD '$password'
CREATE DATABASE sandbox OWNER sandbox
END
  printf '%s\n' "$password" >"$new/sandbox.password"
  owned_by_server "$new/sandbox.password" "$new/server.log"
  sync -f "$new"
  mv "$new" "$directory"
}

# Processes of this cluster: the server and its children all stand in DIR.
server_processes() {
  local link
  for link in /proc/[0-9]*/cwd; do
    if [ "$(readlink "$link" 2>/dev/null)" = "$directory" ]; then
      link=${link#/proc/}
      echo "${link%/cwd}"
    fi
  done
}

# The server's pid if it lives; a pid file that a SIGKILL or a reboot left behind may name anybody.
postmaster() {
  local pid
  [ -f "$directory/postmaster.pid" ] && read -r pid <"$directory/postmaster.pid" 2>/dev/null || return 1
  [[ $pid =~ ^[0-9]+$ ]] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$directory" ] && echo "$pid"
}

end_processes() {
  local signal=$1 deadline=$((SECONDS + $2)) left
  while left=$(server_processes) && [ -n "$left" ]; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    # shellcheck disable=SC2086
    [ "$signal" = none ] || kill "-$signal" $left 2>/dev/null || true
    sleep 0.1
  done
}

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

port_of() {
  sed -n 's/.*Port=\([0-9]*\);.*/\1/p' "$connection" 2>/dev/null || true
}

# The port of last time, as long as it can be had: whoever holds the connection string goes on using it.
choose_port() {
  local attempt=$1 port
  port=$(port_of)
  if [ -z "$port" ] || { [ "$attempt" -gt 1 ] && ! port_is_free "$port"; }; then
    for _ in {1..50}; do
      port=$((20000 + RANDOM % 12000))
      ! port_is_free "$port" || break
    done
  fi
  echo "$port"
}

write_connection() {
  local new
  new=$(mktemp "$connection.XXXXXX")
  printf 'Host=127.0.0.1;Port=%s;Database=sandbox;Username=sandbox;Password=%s\n' "$1" "$(<"$directory/sandbox.password")" >"$new"
  mv -f "$new" "$connection"
}

bound_log() {
  local log=$directory/server.log
  [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -lt 8388608 ] || mv -f "$log" "$log.1"
}

# A server that runs already: it may still be recovering, and the connection file may be lost.
adopt() {
  local port deadline=$((SECONDS + 60))
  port=$(sed -n 4p "$directory/postmaster.pid")
  [ "$(port_of)" = "$port" ] || write_connection "$port"
  until as_server pg_isready -q -t 5 -h 127.0.0.1 -p "$port"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the server in $directory runs but does not answer"
    sleep 0.2
  done
}

start() {
  find_binaries
  if postmaster >/dev/null; then
    adopt
    return
  fi
  [ -f "$directory/PG_VERSION" ] || create
  # What is left of a killed server ends by itself as soon as it notices; its shared memory must be gone first.
  end_processes none 5 || end_processes KILL 10 || fail "processes of a killed server in $directory do not end"
  rm -f "$directory/postmaster.pid"
  local attempt port
  for attempt in {1..10}; do
    port=$(choose_port "$attempt")
    bound_log
    if as_server pg_ctl -D "$directory" -l "$directory/server.log" -o "-p $port" -w -t 60 start >/dev/null 2>&1; then
      [ "$(port_of)" = "$port" ] || write_connection "$port"
      return
    fi
    port_is_free "$port" || sleep 0.2
  done
  tail -n 15 "$directory/server.log" >&2
  fail "the server does not start: see $directory/server.log"
}

stop() {
  local mode=${1:-fast}
  [ -d "$directory" ] || return 0
  find_binaries
  if postmaster >/dev/null; then
    as_server pg_ctl -D "$directory" -m "$mode" -w -t 30 stop >/dev/null 2>&1 ||
      as_server pg_ctl -D "$directory" -m immediate -w -t 15 stop >/dev/null 2>&1 || true
  fi
  end_processes none 5 || end_processes KILL 10 || fail "processes of the server in $directory do not end"
}

mkdir -p "$(dirname "$directory")"
exec 9>"$directory.lock"
flock -w 120 9 || fail "another start or stop of $directory does not end"
case $action in
  start) start ;;
  stop) stop ;;
  restart)
    stop
    start
    ;;
  restart-at-once)
    stop immediate
    start
    ;;
  kill)
    pid=$(postmaster) || fail "no server runs in $directory"
    kill -KILL "$pid"
    end_processes none 30 || fail "the killed server's children do not end"
    ;;
  status)
    if pid=$(postmaster); then
      echo "running, process $pid, port $(port_of)"
    else
      echo "stopped"
      exit 3
    fi
    ;;
  *) usage ;;
esac
