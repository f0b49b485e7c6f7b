#!/usr/bin/env bash
# The worker in a container, with which every guest in it ends.
# Guarantees: a worker that crashed is started again after a second and takes its guests over; a container that is told to stop, or whose worker
# ends by itself, ends its guests first, as Stopped (NodeShutDown), and the next one knows of them.
# A container that is killed takes its guests along: the next worker reports them as killed.
set -u
worker='' stopping='' status=0
trap 'stopping=yes; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null' TERM INT
while [ -z "$stopping" ]; do
  dotnet /opt/sandbox/worker/Sandbox.Worker.dll &
  worker=$!
  # A signal ends a wait before the worker has ended.
  while
    wait "$worker"
    status=$?
    kill -0 "$worker" 2>/dev/null
  do :; done
  # 2: the settings are wrong, or the machine is not let in.
  if [ "$status" = 0 ] || [ "$status" = 2 ]; then break; fi
  [ -n "$stopping" ] || sleep 1
done
dotnet /opt/sandbox/worker/Sandbox.Worker.dll shut-down --state-directory "${Worker__StateDirectory:?}"
[ -n "$stopping" ] || exit "$status"
