#!/usr/bin/env bash
# Starts a Docker daemon for the tests, and builds the images that take the place of those that cannot be pulled.
# Prints one line: DOCKER_HOST=... If the daemon runs already, it prints the same line again. stop-docker.sh ends it.
#   start-docker.sh --install    also installs what is missing (Debian packages, as root)
# FIQA_DOCKER_DIR: its folder. Images stay there, so that the next start takes seconds.
set -euo pipefail

DIR=${FIQA_DOCKER_DIR:-/var/tmp/fiqa-docker-tests}
HERE=$(cd "$(dirname "$0")" && pwd)
RELEASE=trixie
PACKAGES=(docker.io docker-compose debootstrap)
export DOCKER_HOST=unix://$DIR/docker.sock

missing() { for package in "${PACKAGES[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done; }
fail() { echo "start-docker: $*" >&2; exit 1; }

if [ "${1:-}" = --install ] && [ -n "$(missing)" ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  missing | xargs apt-get -yqq -o DPkg::Lock::Timeout=300 --no-install-recommends install >/dev/null
fi
[ -z "$(missing)" ] || fail "not installed: $(missing | xargs): run start-docker.sh --install"
[ "$(id -u)" = 0 ] || fail "the daemon needs root"

mkdir -p "$DIR"
if ! docker info >/dev/null 2>&1; then
  # It must outlive the shell that started it.
  setsid dockerd --data-root "$DIR/data" --exec-root "$DIR/exec" -H "$DOCKER_HOST" --pidfile "$DIR/pid" >"$DIR/log" 2>&1 </dev/null &
  for _ in $(seq 120); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
  docker info >/dev/null 2>&1 || { tail -n 20 "$DIR/log" >&2; fail "the daemon does not start"; }
fi

if ! docker image inspect fiqa-test-debian >/dev/null 2>&1; then
  root=$DIR/debian
  rm -rf "$root"
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
  debootstrap --variant=minbase --include=ca-certificates "$RELEASE" "$root" "$mirror" >"$DIR/debootstrap.log" 2>&1 \
    || { tail -n 20 "$DIR/debootstrap.log" >&2; fail "debootstrap failed"; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}
  # As Debian's own images: apt keeps no packages and no index, and dpkg writes no documentation.
  cat >"$root/etc/apt/apt.conf.d/image" <<'CONF'
APT::Keep-Downloaded-Packages "false";
Binary::apt::APT::Keep-Downloaded-Packages "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CONF
  printf 'path-exclude /usr/share/%s/*\n' doc locale man >"$root/etc/dpkg/dpkg.cfg.d/image"
  # This machine may trust a certificate of its network. pip and apt in the images then must trust it too.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  tar -C "$root" -c . | docker import - fiqa-test-debian >/dev/null
  rm -rf "$root"
fi
for name in python redis s3 prometheus; do
  docker image inspect "fiqa-test-$name" >/dev/null 2>&1 \
    || docker build --network host -t "fiqa-test-$name" -f "$HERE/images/$name.Dockerfile" "$HERE/.." >"$DIR/$name.log" 2>&1 \
    || { tail -n 20 "$DIR/$name.log" >&2; fail "fiqa-test-$name cannot be built"; }
done
echo "DOCKER_HOST=$DOCKER_HOST"
