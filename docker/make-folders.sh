#!/bin/sh
# Make `.pgcad` (cluster, logs) and `.venv` (Python) in the checkout. As root, PostgreSQL and the encoder service run as
# the user postgres; when that user cannot reach the checkout, as with a clone under /root, both become links to folders
# in /var/lib/pgcad that it can.
#
#   docker/make-folders.sh PYTHON
set -eu
umask 022 # postgres reads what root makes here

python=$1
checkout=$(pwd -P)

reachable() {
    [ "$(id -u)" -ne 0 ] || runuser -u postgres -- test -x "$checkout"
}

place() { # place NAME MODE: a folder in the checkout, or a link to one outside of it
    [ -e "$1" ] && return
    if reachable; then
        mkdir -m "$2" "$1"
    else
        home=/var/lib/pgcad/$(basename "$checkout")-$(echo "$checkout" | sha256sum | cut -c1-8)
        mkdir -p "$home/${1#.}"
        chmod "$2" "$home/${1#.}"
        ln -sfn "$home/${1#.}" "$1"
        echo "make-folders: $1 is a link to $home/${1#.}: the user postgres cannot reach $checkout" >&2
    fi
}

place .pgcad 700
place .venv 755
if [ ! -x .venv/bin/pip ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "make-folders: $python is older than Python 3.11; choose another one: make PYTHON=/path/to/python3" >&2
        exit 1
    }
    "$python" -m venv --clear "$(readlink -f .venv)"
fi
