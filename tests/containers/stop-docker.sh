#!/usr/bin/env bash
# Ends the daemon that start-docker.sh started with the same FIQA_DOCKER_DIR, and its containers. Images stay.
#   stop-docker.sh --delete    deletes the images too
set -euo pipefail

DIR=${FIQA_DOCKER_DIR:-/var/tmp/fiqa-docker-tests}
export DOCKER_HOST=unix://$DIR/docker.sock

docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null
if pid=$(cat "$DIR/pid" 2>/dev/null) && grep -qs dockerd "/proc/$pid/cmdline"; then
  kill "$pid"
  while [ -d "/proc/$pid" ]; do sleep 0.2; done
fi
[ "${1:-}" != --delete ] || rm -rf -- "$DIR"
