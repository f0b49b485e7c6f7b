# shellcheck shell=bash
# up and down: the processes of one node on this machine.
# Guarantees: one up at a time (a lock that dies with its holder); what a killed up left behind is found by pid and start time,
# and either taken over (database, VMs) or ended (API, worker, fleet) by the next up, or all ended by down.
# Assumes: DATA is on a local file system.

declare -A service_pid=() service_since=() service_delay=() service_due=()

# Each service with only the settings that are meant for it; the database's password is in the environment of that one process,
# which only its own user can read.
run_service() {
  unset SANDBOX_TEST_POSTGRES
  case $1 in
    api)
      cd "$build/api" || exit 1
      ConnectionStrings__Sandbox=$(<"$DATA/connection")
      export ConnectionStrings__Sandbox Urls="http://127.0.0.1:$port" Web__Root="$build/web"
      exec setsid dotnet "$PWD/Sandbox.Api.dll"
      ;;
    worker)
      cd "$build/worker" || exit 1
      export Worker__ApiUrl="http://127.0.0.1:$port" Worker__TokenFile="$DATA/node.token"
      export Worker__StateDirectory="$DATA/node" Worker__ImagesDirectory="$DATA/images"
      exec setsid dotnet "$PWD/Sandbox.Worker.dll"
      ;;
    fleet)
      cd "$build/worker" || exit 1
      export Worker__ApiUrl="http://127.0.0.1:$port" Worker__StateDirectory="$DATA/fleet" Worker__ImagesDirectory="$DATA/images"
      exec setsid dotnet "$PWD/Sandbox.Worker.dll" fleet --nodes "$nodes" --admin-key-file "$(realpath "$DATA/admin.key")"
      ;;
  esac
}

start_service() {
  local log
  log=$(log_of "$1")
  if [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -gt 8388608 ]; then mv -f "$log" "$log.1"; fi
  (run_service "$1") >>"$log" 2>&1 </dev/null 7>&- 8>&- &
  service_pid[$1]=$! service_since[$1]=$SECONDS
  remember "$DATA/run/$1.pid" "$!" || true
}

# Starts again what ended, after 1, 2, 4 ... 30 s; a minute of life makes it 1 s again.
supervise_service() {
  local name=$1 status=0 delay
  if [ -n "${service_due[$name]:-}" ]; then
    if [ "$SECONDS" -ge "${service_due[$name]}" ]; then
      unset "service_due[$name]"
      start_service "$name"
    fi
    return
  fi
  ! kill -0 "${service_pid[$name]}" 2>/dev/null || return 0
  wait "${service_pid[$name]}" 2>/dev/null || status=$?
  delay=${service_delay[$name]:-1}
  [ $((SECONDS - service_since[$name])) -lt 60 ] || delay=1
  say "the $name ended (status $status); starting it again in $delay s (log: $(log_of "$name"))"
  service_due[$name]=$((SECONDS + delay))
  service_delay[$name]=$((delay * 2 > 30 ? 30 : delay * 2))
}

supervise_database() {
  local before
  ! postgres status "$DATA/pg" >/dev/null || return 0
  before=$(<"$DATA/connection")
  say "the database ended; starting it again"
  postgres start "$DATA/pg" || return 0
  # Its port was taken meanwhile: the API has to learn the new one.
  [ "$before" = "$(<"$DATA/connection")" ] || kill -TERM "${service_pid[api]}" 2>/dev/null || true
}

shut_down_vms() {
  [ -d "$DATA/node" ] || return 0
  [ -e "$DATA/build/worker/Sandbox.Worker.dll" ] || return 0
  dotnet "$DATA/build/worker/Sandbox.Worker.dll" shut-down --state-directory "$DATA/node" >>"$DATA/log/shut-down.log" 2>&1 </dev/null 8>&- ||
    say "not every VM could be ended: see $DATA/log/shut-down.log"
}

stop_everything() {
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  say "stopping"
  end_jobs
  # Its machines end with it, and it tells that itself.
  end_process "$DATA/run/fleet.pid" 30
  end_process "$DATA/run/worker.pid" 15
  shut_down_vms
  end_process "$DATA/run/api.pid" 15
  postgres stop "$DATA/pg" || true
  rm -f "$DATA/run/up.pid"
  say "stopped; data stay in $DATA"
}

down() {
  local pid deadline=$((SECONDS + 90))
  resolve_data
  end_node_verb
  end_node
  if pid=$(recall "$DATA/run/up.pid"); then
    kill -TERM "$pid"
    while recall "$DATA/run/up.pid" >/dev/null; do
      [ "$SECONDS" -lt "$deadline" ] || fail "process $pid does not stop; see $DATA/log"
      sleep 0.1
    done
    say "stopped; data stay in $DATA"
  else
    exec 8>"$DATA/run/lock"
    flock -w 5 8 || fail "another ./sandbox is at work here"
    stop_everything
  fi
}

# wait_for SERVICE TEXT CONDITION [SECONDS]: at most 60 s, unless said, and no longer than the service lives.
wait_for() {
  local deadline=$((SECONDS + ${4:-60}))
  until $3; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "${service_pid[$1]}" 2>/dev/null; then
      tail -n 30 "$(log_of "$1")" >&2
      fail "$2 (log: $(log_of "$1"))"
    fi
    sleep 0.2
  done
}

api_is_healthy() { curl -fsS --max-time 2 -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null; }

# The API calls the node of the last run Ready until it is missed: only a report to this run counts.
node_is_ready() {
  curl -fsS --max-time 2 -H @<(printf 'Authorization: Bearer %s\n' "$(<"$DATA/admin.key")") "http://127.0.0.1:$port/v1/nodes?name=local" 2>/dev/null |
    node -e '
      const nodes = JSON.parse(require("fs").readFileSync(0)).items;
      const ready = node => node.phase === "Ready" && Date.parse(node.lastReportAt) >= Number(process.argv[1]);
      process.exit(nodes.some(ready) ? 0 : 1);' "$worker_started" 2>/dev/null
}

# As many of the fleet's nodes as there are to be have reported to this run.
fleet_is_ready() {
  node -e '
    const [url, keyFile, wanted, since] = process.argv.slice(1);
    const headers = { Authorization: "Bearer " + require("fs").readFileSync(keyFile, "utf8").trim() };
    (async () => {
      let ready = 0;
      for (let next = ""; next !== null;) {
        const page = await (await fetch(url + "/v1/nodes?phase=Ready&limit=1000" + (next && "&after=" + next), { headers })).json();
        ready += page.items.filter(node => node.name.startsWith("sim-") && Date.parse(node.lastReportAt) >= Number(since)).length;
        next = page.next;
      }
      process.exit(ready >= Number(wanted) ? 0 : 1);
    })().catch(() => process.exit(1));' "http://127.0.0.1:$port" "$DATA/admin.key" "$nodes" "$fleet_started" 2>/dev/null
}

migrate() {
  dotnet "$build/migrations/Sandbox.Migrations.dll" --connection-file "$DATA/connection" \
    --admin-key-file "$DATA/admin.key" --node-token-file "$DATA/node.token" --node-name local
  chmod 600 "$DATA/admin.key" "$DATA/node.token"
}

tell() {
  cat <<END

Sandbox is up after $1 s.
  page       http://127.0.0.1:$port/   (sign in with the admin key)
  admin key  $DATA/admin.key
  logs       $DATA/log/
  nodes      local$([ "$nodes" = 0 ] || printf ', and %s simulated ones in one process (%s)' "$nodes" "$([ "$nodes" = 1 ] && echo sim-0001 || printf 'sim-0001 to sim-%04d' "$nodes")")
  stop       Ctrl-C here, or ./sandbox down

A first guest with an accelerator behind an SMMU:
  curl -sS http://127.0.0.1:$port/v1/sandboxes \\
    -H "Authorization: Bearer \$(cat '$DATA/admin.key')" -H 'Content-Type: application/json' \\
    -d '{"name":"first","image":"guest","accelerators":[{"class":"edu","count":1}]}'

END
}

up() {
  local started=$SECONDS build port=8080 nodes=0 worker_started fleet_started
  while [ $# -gt 0 ]; do
    case $1 in
      --port) port=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
      --port=*) port=${1#*=} && shift ;;
      --nodes) nodes=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
      --nodes=*) nodes=${1#*=} && shift ;;
      *) fail "unexpected argument '$1': ./sandbox up [--port N] [--nodes N]" ;;
    esac
  done
  if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65535 ]; then
    fail "'$port' is no port: a number from 1 to 65535"
  fi
  if [ "$nodes" != 0 ] && { ! [[ $nodes =~ ^[1-9][0-9]{0,3}$ ]] || [ "$nodes" -gt 2000 ]; }; then
    fail "'$nodes' is no number of simulated nodes: a number from 1 to 2000"
  fi
  resolve_data
  exec 8>"$DATA/run/lock"
  flock -n 8 || fail "it runs already (process $(recall "$DATA/run/up.pid" || echo unknown)); stop it with ./sandbox down"
  remember "$DATA/run/up.pid" $$
  trap 'stop_everything; exit 130' INT TERM HUP
  trap 'stop_everything' EXIT
  trap : PIPE
  # Left behind by an up that was killed.
  end_process "$DATA/run/fleet.pid" 30
  end_process "$DATA/run/worker.pid" 15
  end_process "$DATA/run/api.pid" 15
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is in use by another program: ./sandbox up --port N takes another"

  # shellcheck disable=SC2046
  install_packages $(service_packages)
  begin_build
  await
  begin_image
  postgres start "$DATA/pg" || fail "the database does not start"
  finish_build
  exec 7>&-
  build=$(realpath "$DATA/build")
  step "applying migrations" migrate
  await
  start_service api
  wait_for api "the API is not healthy" api_is_healthy
  worker_started=$(date +%s%3N)
  start_service worker
  wait_for worker "the node is not Ready" node_is_ready
  if [ "$nodes" != 0 ]; then
    say "starting $nodes simulated nodes ..."
    fleet_started=$(date +%s%3N)
    start_service fleet
    wait_for fleet "the simulated nodes are not Ready" fleet_is_ready $((60 + nodes / 4))
  fi
  tell $((SECONDS - started)) || true
  while :; do
    supervise_service api
    supervise_service worker
    [ "$nodes" = 0 ] || supervise_service fleet
    supervise_database
    sleep 1 8>&- &
    wait $! 2>/dev/null || true
  done
}
