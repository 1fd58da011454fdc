-- The schema, and the record of which incremental files this database has run. extensions/build.py adds one insert
-- after each file. The script makes the schema itself, so that it belongs to the extension: it goes with it, and is
-- never one where somebody else has put functions that ours would call.

do $$
begin
    if pg_catalog.getdatabaseencoding() operator(pg_catalog.<>) 'UTF8' then
        raise exception 'pgcad needs a database with encoding UTF8, this one has %', pg_catalog.getdatabaseencoding()
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Create one: create database parts template template0 encoding ''UTF8'';';
    end if;
    if pg_catalog.to_regnamespace('cad') is not null then
        raise exception 'schema cad exists, and pgcad must make it itself'
            using errcode = '42P06', hint = 'Rename or drop it: alter schema cad rename to …; or drop schema cad;';
    end if;
end
$$;

create schema cad;

comment on schema cad is 'Search for CAD parts: what a user calls, and the tables behind it.';

create table cad.migration (
    name text primary key,
    version text not null,
    sha256 text not null,
    applied_at timestamptz not null default pg_catalog.now()
);

comment on table cad.migration is 'Incremental files of the extension that ran in this database, in order of name.';
comment on column cad.migration.name is 'File name in sql/incremental.';
comment on column cad.migration.version is 'Version of the extension that installed it here.';
comment on column cad.migration.sha256 is 'SHA-256 of the file, hexadecimal.';
comment on column cad.migration.applied_at is 'When it ran.';
