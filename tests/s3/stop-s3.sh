#!/usr/bin/env bash
# Ends the server that start-s3.sh started with the same FIQA_S3_PORT and FIQA_S3_DIR, and deletes its data.
set -euo pipefail

DIR=${FIQA_S3_DIR:-${TMPDIR:-/tmp}/fiqa-s3-${FIQA_S3_PORT:-7580}}
[ -f "$DIR/ceph.conf" ] || exit 0

for file in "$DIR"/*.pid; do
  pid=$(cat "$file" 2>/dev/null) || continue
  # The pid file may be old, and its number may belong to another process now.
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- " $DIR/ceph.conf " || continue
  kill -KILL "$pid"  # its data is deleted anyway
  # Wait until the process is gone, or is a zombie.
  while grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status"; do sleep 0.02; done
done
rm -rf -- "$DIR"
