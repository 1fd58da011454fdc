#!/bin/sh
# What the containers run: `database`, `encoder`, `health` (is the encoder ready?), or any other command.
#
# The database is made in $PGDATA at the first start; $POSTGRES_PASSWORD_FILE or $POSTGRES_PASSWORD gives the password
# of the superuser `postgres`. Every start brings the extension up to the version of the image.
set -eu

socket=${PGCAD_SOCKET:-/run/pgcad/encoder.sock}

fail() {
    echo "entrypoint: $*" >&2
    exit 1
}

make_database() {
    password=${POSTGRES_PASSWORD_FILE:-}
    if [ -z "$password" ]; then
        [ -n "${POSTGRES_PASSWORD:-}" ] || fail "set POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD for the first start"
        password=$(mktemp)
        printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
    fi
    initdb --username postgres --pwfile "$password" --encoding UTF8 --locale C.UTF-8 \
        --auth-local peer --auth-host scram-sha-256 --no-instructions
    cat >>"$PGDATA/postgresql.conf" <<-'END'
		listen_addresses = '*'
		shared_buffers = 512MB
		maintenance_work_mem = 512MB
		max_wal_size = 2GB
		random_page_cost = 1.1
		jit = off
	END
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
}

update_database() { # with a server that only this container can reach
    pg_ctl start --wait --silent --options "-c listen_addresses=''"
    if [ -z "$(psql --no-align --tuples-only --command "select 1 from pg_database where datname = 'cad'")" ]; then
        createdb cad
    fi
    psql --quiet --set ON_ERROR_STOP=1 --set socket="$socket" --dbname cad <<-'END'
		create extension if not exists pgcad cascade;
		alter extension pgcad update;
		alter database cad set search_path = "$user", public, cad;
		alter database cad set pgcad.socket = :'socket';
	END
    pg_ctl stop --wait --silent --mode fast
}

case ${1:-} in
database)
    PATH=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin | sort -V | tail -n 1):$PATH
    [ -s "$PGDATA/PG_VERSION" ] || make_database
    update_database
    exec postgres
    ;;
encoder)
    umask 007
    exec pgcad serve --supervise --socket "$socket" --group pgcad
    ;;
health)
    exec python -c 'import sys; from pgcad import client
health, _ = client.call(sys.argv[1], "health", {}, [], 5000, lambda: None, {})
sys.exit(health["status"] != "ok")' "$socket"
    ;;
*)
    exec "$@"
    ;;
esac
