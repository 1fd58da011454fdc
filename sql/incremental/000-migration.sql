-- The record of which incremental files this database has run. extensions/build.py adds one insert after each file.

do $$
begin
    if pg_catalog.getdatabaseencoding() operator(pg_catalog.<>) 'UTF8' then
        raise exception 'pgcad needs a database with encoding UTF8, this one has %', pg_catalog.getdatabaseencoding()
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Create one: create database parts template template0 encoding ''UTF8'';';
    end if;
end
$$;

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
