#!/bin/sh
# Install what pgcad needs from the operating system (Debian 12 or newer, or a relative of it): the one list of system
# packages, used by `make` and by the Dockerfiles. Quick when everything is there. As root, or as a user with sudo.
#
#   docker/install-system.sh            server, extension and encoder service
#   docker/install-system.sh encoder    the encoder service alone: no database
set -eu

role=${1:-all}
here=$(dirname "$(readlink -f "$0")")

say() { echo "install-system: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet -o Dpkg::Use-Pty=0 "$@" >&2; }

# The major version behind Debian's package `postgresql`; empty before the first `apt-get update`.
postgresql_major() {
    apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

packages() {
    echo ca-certificates python3 python3-venv
    echo libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libx11-6 libexpat1 # VTK renders off-screen through EGL
    [ "$role" = encoder ] && return
    major=$(postgresql_major)
    echo postgresql "postgresql-${major:-unknown}" "postgresql-plpython3-${major:-unknown}"
    echo "postgresql-server-dev-${major:-unknown}" "postgresql-${major:-unknown}-plpgsql-check"
    echo gcc make libc6-dev dpkg-dev xz-utils # pgvector is built from source where it is not packaged
}

missing() {
    for package in $(packages); do
        status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || echo "$package"
    done
}

command -v apt-get >/dev/null ||
    fail "there is no apt-get here; install the equivalents of: $(packages | tr '\n' ' ')"

if [ -n "$(missing)" ]; then
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || fail "run as root, or install sudo: system packages are missing"
    say "reading the package lists"
    apt update
    wanted=$(missing | tr '\n' ' ')
    say "installing $wanted"
    # shellcheck disable=SC2086 # a list of words
    apt install --yes --no-install-recommends $wanted
fi

[ "$role" = encoder ] || "$here/../extensions/install-pgvector.sh"
