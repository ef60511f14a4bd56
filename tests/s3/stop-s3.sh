#!/usr/bin/env bash
# Ends what start-s3.sh started with the same FIQA_S3_PORT and FIQA_S3_DIR, and drops its data.
set -euo pipefail

DIR=${FIQA_S3_DIR:-${TMPDIR:-/tmp}/fiqa-s3-${FIQA_S3_PORT:-7580}}
[ -f "$DIR/ceph.conf" ] || exit 0

for file in "$DIR"/*.pid; do
  pid=$(cat "$file" 2>/dev/null) || continue
  # A number left over from long ago may be another process by now.
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- " $DIR/ceph.conf " || continue
  kill -KILL "$pid"  # the data goes too, so there is nothing to save
  # Gone, or dead and waiting for its parent to notice.
  while grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status"; do sleep 0.02; done
done
rm -rf -- "$DIR"
