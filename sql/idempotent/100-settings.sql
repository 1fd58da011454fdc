-- Settings. PostgreSQL cannot mark a custom setting superuser-only without a C module, and whoever may choose the
-- socket may point the server at any socket, so the trusted ones are read from the places only an administrator
-- can write.

create or replace function cad._server_settings() returns jsonb
language sql stable parallel restricted security definer
set search_path from current
as $$
    with place as (
        select 1 as rank, 0 as line, s.name, current_setting(s.name, true) as value
        from unnest(array['pgcad.encoder', 'pgcad.socket', 'pgcad.python_path']) as s (name)
        where (select r.rolsuper from pg_roles as r where r.rolname = session_user)

        union all

        select case s.setdatabase when 0 then 3 else 2 end, 0, split_part(a.line, '=', 1), substr(a.line, strpos(a.line, '=') + 1)
        from pg_db_role_setting as s, unnest(s.setconfig) as a (line)
        where s.setrole = 0
            and s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))

        union all

        select 4, -f.seqno, f.name, f.setting
        from pg_file_settings as f
        where f.error is null
    ),

    trusted as (
        select distinct on (place.name) place.name, place.value
        from place
        where starts_with(place.name, 'pgcad.') and place.value <> ''
        order by place.name, place.rank, place.line
    )

    select coalesce(jsonb_object_agg(trusted.name, trusted.value), '{}')
    from trusted
$$;

comment on function cad._server_settings() is
'Settings from alter system, alter database or, for superusers, the session. What others set is ignored.';

create or replace function cad._server_setting(setting text) returns text
language sql stable strict parallel restricted
set search_path from current
as $$
    select cad._server_settings() ->> setting
$$;

comment on function cad._server_setting(text) is 'One of cad._server_settings; null where nobody has set it.';

create or replace function cad._encoder_settings(
    out mode text, out socket text, out python_path text, out timeout_ms integer, out ingest_timeout_ms integer
)
language sql stable parallel restricted
set search_path from current
as $$
    select
        coalesce(s.settings ->> 'pgcad.encoder', 'service'),
        coalesce(s.settings ->> 'pgcad.socket', '/run/pgcad/encoder.sock'),
        coalesce(s.settings ->> 'pgcad.python_path', ''),
        coalesce(nullif(current_setting('pgcad.timeout_ms', true), ''), '30000')::integer,
        coalesce(nullif(current_setting('pgcad.ingest_timeout_ms', true), ''), '300000')::integer
    from cad._server_settings() as s (settings)
$$;

comment on function cad._encoder_settings() is 'How the functions of this session reach the encoders.';
