#!/usr/bin/env bash
# Starts a real S3 server on 127.0.0.1 for the tests: Ceph with one mon, one osd (objects in memory) and one RADOS Gateway.
# Prints one line: ENDPOINT=... ACCESS_KEY=... SECRET_KEY=... If the server runs already, prints the same line again.
# stop-s3.sh ends the server.
# FIQA_S3_PORT: the first of the ten ports that it may use. FIQA_S3_DIR: its folder. FIQA_S3_ADDRESS: where it listens.
# Needs Debian's or Ubuntu's packages ceph-common, ceph-mon, ceph-osd and radosgw (Debian 12, Ubuntu 22.04, or later).
set -euo pipefail

PORT=${FIQA_S3_PORT:-7580}
ADDRESS=${FIQA_S3_ADDRESS:-127.0.0.1}
DIR=${FIQA_S3_DIR:-${TMPDIR:-/tmp}/fiqa-s3-$PORT}
ACCESS_KEY=fiqa-test
SECRET_KEY=fiqa-test-secret
HERE=$(cd "$(dirname "$0")" && pwd)
CEPH=(-c "$DIR/ceph.conf")

installed() { type ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin >/dev/null 2>&1; }

answers() {
  local status
  { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null || return 1
  printf 'GET / HTTP/1.0\r\n\r\n' >&3
  read -rt 5 status <&3 || status=
  exec 3>&-
  [[ $status == *" 200 "* ]]
}

# Each step's output goes to the log. If a step fails, the end of the log is printed.
step() {
  timeout 60 "$@" </dev/null >>"$DIR/start.log" 2>&1 || { tail -n 20 "$DIR/start.log"; echo "start-s3: failed: $1"; exit 1; } >&2
}

installed || { echo "start-s3: Ceph is not installed: apt-get install ceph-common ceph-mon ceph-osd radosgw" >&2; exit 1; }

if ! { [ -f "$DIR/ceph.conf" ] && answers; }; then
  FIQA_S3_DIR=$DIR "$HERE/stop-s3.sh"
  mkdir -p "$DIR"/{mon,osd,rgw}
  cluster=$(cat /proc/sys/kernel/random/uuid)
  osd=$(cat /proc/sys/kernel/random/uuid)
  cat >"$DIR/ceph.conf" <<CONF
[global]
fsid = $cluster
mon host = v2:127.0.0.1:$((PORT + 1))
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind port min = $((PORT + 2))
ms bind port max = $((PORT + 9))
auth cluster required = none
auth service required = none
auth client required = none
run dir = $DIR
crash dir = $DIR
log file = $DIR/\$name.log
admin socket =
pid file = $DIR/\$name.pid
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
mon data = $DIR/mon
mon allow pool size one = true
mon data avail crit = 1
# There is no second mon to wait for.
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = $DIR/osd
osd objectstore = memstore
memstore device bytes = 4G
[client.rgw]
rgw data = $DIR/rgw
# Without tcp_nodelay, Nagle's algorithm and delayed acknowledgements make an answer take 40 ms.
rgw frontends = beast endpoint=$ADDRESS:$PORT tcp_nodelay=1
rgw enable apis = s3
rgw override bucket index max shards = 1
# The gateway asks for encryption towards the mon, which a cluster without keys cannot give; it would wait for minutes.
ms mon client mode = crc
CONF
  step monmaptool --create --fsid "$cluster" --addv a "[v2:127.0.0.1:$((PORT + 1))]" "$DIR/monmap"
  step ceph-mon "${CEPH[@]}" -i a --mkfs --monmap "$DIR/monmap"
  step ceph-mon "${CEPH[@]}" -i a
  step ceph "${CEPH[@]}" osd new "$osd"
  step ceph-osd "${CEPH[@]}" -i 0 --mkfs --osd-uuid "$osd"
  step ceph-osd "${CEPH[@]}" -i 0
  step radosgw-admin "${CEPH[@]}" -n client.rgw user create --uid=test --display-name=test \
    --access-key="$ACCESS_KEY" --secret-key="$SECRET_KEY"
  step radosgw "${CEPH[@]}" -n client.rgw
  export -f answers && export PORT
  step bash -c 'until answers; do sleep 0.05; done'
fi
echo "ENDPOINT=http://127.0.0.1:$PORT ACCESS_KEY=$ACCESS_KEY SECRET_KEY=$SECRET_KEY"
