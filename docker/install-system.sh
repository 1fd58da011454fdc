#!/bin/sh
# Install what pgcad needs from the operating system (Debian 12 or newer, or a relative of it): the one list of system
# packages, used by `make` and by the Dockerfiles. Quick when everything is there. As root, or as a user with sudo.
#
#   docker/install-system.sh [ROLE…]    roles, default all: encoder  the encoder service
#                                                           server   PostgreSQL and its Python
#                                                           build    what builds extensions, and pgvector
#
# Where Debian's PostgreSQL is not there yet, its installation would also start a cluster `main` on port 5432. Nothing
# here needs it, so this one installation makes none; `pg_createcluster NN main --start` makes it.
set -eu
umask 022

roles=" ${*:-encoder server build} "
here=$(dirname "$(readlink -f "$0")")

say() { echo "install-system: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
apt() { # what apt and dpkg say is shown when they fail
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "apt-get $1 failed, see above"
    }
}

no_cluster=/etc/postgresql-common/createcluster.d/pgcad.conf # read by the installation of a server
log=$(mktemp)
clean_up() {
    rm -f "$log"
    [ ! -e "$no_cluster" ] || as_root rm -f "$no_cluster"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# The major version behind Debian's package `postgresql`; empty before the first `apt-get update`.
postgresql_major() {
    apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

has() { # has ROLE
    case $roles in *" $1 "*) true ;; *) false ;; esac
}

packages() {
    major=$(postgresql_major)
    echo ca-certificates python3
    if has encoder; then
        echo python3-venv
        # VTK renders off-screen through EGL
        echo libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libx11-6 libxcursor1 libexpat1
        echo libjemalloc2
    fi
    if has server; then
        echo postgresql "postgresql-${major:-NN}" "postgresql-plpython3-${major:-NN}"
    fi
    if has build; then
        echo "postgresql-server-dev-${major:-NN}" "postgresql-${major:-NN}-plpgsql-check"
        echo gcc make libc6-dev dpkg-dev xz-utils # pgvector is built from source where it is not packaged
    fi
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
    if has server; then
        as_root install -d "${no_cluster%/*}"
        echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
    fi
    # shellcheck disable=SC2086 # a list of words
    apt install --yes --no-install-recommends $wanted
fi

if has build; then "$here/../extensions/install-pgvector.sh"; fi
