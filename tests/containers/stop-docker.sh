#!/usr/bin/env bash
# Ends the daemon that start-docker.sh started with the same FIQA_DOCKER_DIR, and its containers. Images stay.
#   stop-docker.sh --delete    deletes the images too
set -euo pipefail

DIR=${FIQA_DOCKER_DIR:-/var/tmp/fiqa-docker-tests}
export DOCKER_HOST=unix://$DIR/docker.sock

if containers=$(docker ps -aq 2>/dev/null); then
  xargs -r docker rm -f <<<"$containers" >/dev/null
fi
if pid=$(cat "$DIR/pid" 2>/dev/null) && grep -qs dockerd "/proc/$pid/cmdline"; then
  kill "$pid"
  while [ -d "/proc/$pid" ]; do sleep 0.2; done
fi
if [ "${1:-}" = --delete ]; then
  # The daemon leaves mounts, such as the network namespace of the host.
  awk -v dir="$DIR/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
  rm -rf -- "$DIR"
fi
