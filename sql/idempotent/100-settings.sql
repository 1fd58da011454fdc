-- Settings. PostgreSQL cannot mark a custom setting superuser-only without a C module, and whoever may choose the
-- socket may point the server at any socket, so the trusted ones are read from the places only an administrator
-- can write.

create or replace function cad._server_setting(setting text) returns text
language sql stable strict parallel restricted security definer
set search_path from current
as $$
    select coalesce(
        case
            when (select r.rolsuper from pg_roles as r where r.rolname = session_user)
                then nullif(current_setting(setting, true), '')
        end,
        (
            select substr(assignment, length(setting) + 2)
            from pg_db_role_setting as s, unnest(s.setconfig) as assignment
            where s.setrole = 0
                and s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))
                and starts_with(assignment, setting || '=')
            order by s.setdatabase desc
            limit 1
        ),
        (
            select f.setting
            from pg_file_settings as f
            where f.name = _server_setting.setting and f.error is null
            order by f.seqno desc
            limit 1
        )
    )
$$;

comment on function cad._server_setting(text) is
'A setting from alter system, alter database or, for superusers, the session. What others set is ignored.';

create or replace function cad._encoder_settings(
    out mode text, out socket text, out python_path text, out timeout_ms integer, out ingest_timeout_ms integer
)
language sql stable parallel restricted
set search_path from current
as $$
    select
        coalesce(cad._server_setting('pgcad.encoder'), 'service'),
        coalesce(cad._server_setting('pgcad.socket'), '/run/pgcad/encoder.sock'),
        coalesce(cad._server_setting('pgcad.python_path'), ''),
        coalesce(nullif(current_setting('pgcad.timeout_ms', true), ''), '30000')::integer,
        coalesce(nullif(current_setting('pgcad.ingest_timeout_ms', true), ''), '300000')::integer
$$;

comment on function cad._encoder_settings() is 'How the functions of this session reach the encoders.';
