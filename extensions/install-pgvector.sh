#!/bin/sh
# Make `create extension vector` possible on this machine; run it as often as you like.
#
# Takes the packaged pgvector where the machine's package source has one, and otherwise builds Debian's source
# package of a newer suite against the server that PG_CONFIG names (default: the first pg_config on the PATH). The
# package source is read from the machine's own apt configuration; a private list folder keeps that configuration
# and its lists untouched.
set -eu
umask 022 # the server reads what root installs
unset MAKEFLAGS MFLAGS # of the make that runs this: they are not meant for the one below

pg_config=${PG_CONFIG:-pg_config}
suites=${PGVECTOR_SUITES:-"sid trixie"} # newest first; a suite whose files are missing falls through to the next

say() { echo "install-pgvector: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

command -v "$pg_config" >/dev/null || fail "no pg_config; install postgresql-server-dev-NN or set PG_CONFIG"
server_major=$("$pg_config" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
control=$("$pg_config" --sharedir)/extension/vector.control

[ -f "$control" ] && exit 0 # installed already

package=postgresql-$server_major-pgvector
if apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [0-9]'; then
    say "installing $package"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package"
    [ -f "$control" ] && exit 0
    say "$package serves another server than $pg_config; building from source"
fi

[ -f "$("$pg_config" --includedir-server)/postgres.h" ] || fail "install postgresql-server-dev-$server_major first"
{ command -v make && command -v cc; } >/dev/null || fail "install make and a C compiler first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/sources.d"
chmod 755 "$work"

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")

# This machine's entry for its own suite, as a source entry of suite $1: deb822 files first, one-line files otherwise.
write_source_entry() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && awk -v RS= -v own="$codename" -v suite="$1" '
            !done && match($0, "(^|\n)Suites:[^\n]*[ \t]" own "([ \t\n]|$)") {
                sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src")
                sub(/\nSuites:[^\n]*/, "\nSuites: " suite)
                print
                done = 1
            }' "$file"
    done >"$work/sources.d/own.sources"
    [ -s "$work/sources.d/own.sources" ] && return
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n "s/^deb \(.*\) $codename \(main.*\)/deb-src \1 $1 \2/p" | head -n 1 >"$work/sources.d/own.list"
    [ -s "$work/sources.d/own.list" ] || fail "apt has no source of $codename on this machine"
}

private_apt() {
    apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources.d" \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache::Archives="$work/archives" -o Dir::Cache::pkgcache= \
        -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root "$@"
}

download() (
    write_source_entry "$1"
    cd "$work/source"
    private_apt update -qq && private_apt source -qq --download-only pgvector
)

for suite in $suites; do
    say "trying the source package of $suite"
    rm -rf "$work/source"
    mkdir "$work/source"
    if download "$suite"; then
        archive=$(find "$work/source" -name 'pgvector_*.orig.tar.*' ! -name '*.asc' | head -n 1)
        [ -n "$archive" ] && break
    fi
    say "$suite does not have it"
done
[ -n "${archive:-}" ] || fail "no suite of '$suites' gave the source of pgvector; is the network up?"

# No OPTFLAGS: the default -march=native would not run on an older processor than the one that built an image.
tar -xf "$archive" -C "$work" --one-top-level=pgvector --strip-components=1
make -s -C "$work/pgvector" PG_CONFIG="$pg_config" OPTFLAGS= with_llvm=no
as_root make -s -C "$work/pgvector" PG_CONFIG="$pg_config" OPTFLAGS= with_llvm=no install
[ -f "$control" ] || fail "the build ended without $control"
say "built $(basename "$archive" | sed 's/.orig.*//') for PostgreSQL $server_major"
