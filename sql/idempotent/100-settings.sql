-- Settings. PostgreSQL cannot mark a custom setting superuser-only without a C module, and whoever may choose the
-- socket may point the server at any socket, so the trusted ones, and those of what all share, are read from the places
-- only an administrator can write.

create or replace function cad._server_settings() returns jsonb
language plpgsql stable parallel restricted security definer
set search_path from current
as $$
begin
    return (
        with setting (name) as (
            values ('pgcad.encoder'), ('pgcad.socket'), ('pgcad.python_path'), ('pgcad.cache_entries')
        ),

        place as (
            select 1 as rank, 0 as line, s.name, current_setting(s.name, true) as value
            from setting as s
            where (select r.rolsuper from pg_roles as r where r.rolname = session_user) and current_setting(s.name, true) <> ''

            union all

            select case s.setdatabase when 0 then 3 else 2 end, 0, a.name, a.value
            from pg_db_role_setting as s,
                unnest(s.setconfig) as c (line),
                lateral (select split_part(c.line, '=', 1), substr(c.line, strpos(c.line, '=') + 1)) as a (name, value)
            where s.setrole = 0 and a.value <> ''
                and s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))
        ),

        known as (
            select place.*
            from place

            union all

            select 4, -f.seqno, f.name, f.setting
            from pg_file_settings as f
            where f.error is null and f.setting <> ''
                and exists ( -- reading the files takes time: only for a setting that the session has from no place above
                    select from setting as s
                    where current_setting(s.name, true) is not null and s.name not in (select place.name from place)
                )
        ),

        trusted as (
            select distinct on (known.name) known.name, known.value
            from known
            where starts_with(known.name, 'pgcad.')
            order by known.name, known.rank, known.line
        )

        select coalesce(jsonb_object_agg(trusted.name, trusted.value), '{}')
        from trusted
    );
end
$$;

comment on function cad._server_settings() is
'Settings from alter system, alter database or, for superusers, the session. What others set is ignored.';

create or replace function cad._encoder_settings(
    out mode text, out socket text, out python_path text, out timeout_ms text, out ingest_timeout_ms text
)
language plpgsql stable parallel restricted
set search_path from current
as $$
declare
    settings constant jsonb := cad._server_settings();
begin
    mode := coalesce(settings ->> 'pgcad.encoder', 'service');
    socket := coalesce(settings ->> 'pgcad.socket', '/run/pgcad/encoder.sock');
    python_path := coalesce(settings ->> 'pgcad.python_path', '');
    timeout_ms := coalesce(nullif(current_setting('pgcad.timeout_ms', true), ''), '30000');
    ingest_timeout_ms := coalesce(nullif(current_setting('pgcad.ingest_timeout_ms', true), ''), '300000');
end
$$;

comment on function cad._encoder_settings() is
'How the functions of this session reach the encoders. The times are as they were set: who uses one checks it.';
