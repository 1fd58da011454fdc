#!/bin/sh
# What the containers run: `database`, `encoder` with options of `pgcad serve`, `health` (is the encoder ready?), or any
# other command.
#
# The database is made in $PGDATA at the first start; $POSTGRES_PASSWORD_FILE or $POSTGRES_PASSWORD gives the password
# of the superuser `postgres`. Every start brings the extension up to the version of the image, and warns where the SQL
# of that version has changed since.
set -eu

socket=${PGCAD_SOCKET:-/run/pgcad/encoder.sock}

fail() {
    echo "entrypoint: $*" >&2
    exit 1
}

password() { # into a pipe: no copy is left in a file
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        cat "$POSTGRES_PASSWORD_FILE"
    else
        printf '%s\n' "$POSTGRES_PASSWORD"
    fi
}

shared_buffers_mb() { # a quarter of the memory that there is for the container, as in a local cluster (cluster.py)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
    awk -v limit="$limit" '
        /^MemTotal:/ {
            mb = $2 / 1024
            if (limit != "max" && limit / 1048576 < mb) mb = limit / 1048576
            mb = int(mb / 4)
            print (mb < 128 ? 128 : (mb > 8192 ? 8192 : mb))
        }' /proc/meminfo
}

make_database() {
    [ -n "${POSTGRES_PASSWORD_FILE:-}${POSTGRES_PASSWORD:-}" ] ||
        fail "set POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD for the first start"
    password | initdb --username postgres --pwfile /dev/stdin --encoding UTF8 --locale C.UTF-8 \
        --auth-local peer --auth-host scram-sha-256 --no-instructions
    cat >>"$PGDATA/postgresql.conf" <<-END
		listen_addresses = '*'
		shared_buffers = $(shared_buffers_mb)MB
		maintenance_work_mem = 512MB
		max_wal_size = 2GB
		random_page_cost = 1.1
		jit = off
	END
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
}

update_database() { # with a server that only this container can reach
    export PGCTLTIMEOUT=3600 # recovery after a crash may take longer than the minute that pg_ctl waits by default
    pg_ctl start --wait --silent --options "-c listen_addresses=''"
    if [ -z "$(psql --no-align --tuples-only --command "select 1 from pg_database where datname = 'cad'")" ]; then
        createdb cad
    fi
    # The database remembers the SHA-256 of the script it was made or updated with, as in a local cluster (cluster.py).
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set socket="$socket" --dbname cad <<-'END'
		select
		    e.default_version as version,
		    encode(sha256(pg_read_binary_file(c.setting || '/extension/pgcad--' || e.default_version || '.sql')), 'hex')
		        as script,
		    coalesce(e.installed_version = e.default_version, false) as same_version,
		    coalesce(current_setting('pgcad.script', true), '') as remembered
		from pg_available_extensions as e
		inner join pg_config as c on c.name = 'SHAREDIR'
		where e.name = 'pgcad' \gset
		select :'same_version' and :'remembered' not in ('', :'script') as changed \gset
		\if :changed
		    \warn entrypoint: the SQL of pgcad :version in this image is not that of database cad, which keeps its own.
		    \warn entrypoint: to have the new SQL: pg_dump, rename cad, create it anew, pg_restore, restart.
		\else
		    create extension if not exists pgcad cascade;
		    alter extension pgcad update;
		    alter database cad set pgcad.script = :'script';
		\endif
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
    shift
    umask 007
    exec pgcad serve --supervise --socket "$socket" --group pgcad "$@"
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
