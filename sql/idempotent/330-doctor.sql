-- What may be wrong with this installation, and what to do about it.

create or replace function cad._doctor_installation()
returns table (check_name text, status text, detail text, hint text)
language sql stable parallel restricted
set search_path from current
as $$
    select
        'pgvector version', case when v.parts >= '{0,8,4}' then 'ok' else 'warning' end, v.extversion,
        case
            when v.parts < '{0,8,4}'
                then 'Versions before 0.8.4 can corrupt an HNSW index (parallel build, vacuum). Install a newer pgvector '
                || 'when there is one: alter extension vector update; reindex the HNSW indexes.'
        end
    from (
        select e.extversion, string_to_array(e.extversion, '.')::integer[] as parts
        from pg_extension as e
        where e.extname = 'vector'
    ) as v

    union all

    select
        'pgcad version', case when a.installed_version = a.default_version then 'ok' else 'warning' end, a.installed_version,
        case when a.installed_version <> a.default_version then 'Run: alter extension pgcad update;' end
    from pg_available_extensions as a
    where a.name = 'pgcad'

    union all

    select
        'search_path of the functions', case when count(*) = 0 then 'ok' else 'error' end,
        coalesce(string_agg(distinct e.extname || ' lies in schema ' || n.nspname, ', '), 'reaches every required extension'),
        case when count(*) > 0 then 'Move the extension back: alter extension … set schema …;' end
    from pg_extension as e
    inner join pg_namespace as n on n.oid = e.extnamespace
    where e.extname in ('vector', 'cube', 'pg_trgm') and n.nspname <> all(current_schemas(true))

    union all

    select
        'schemas of the required extensions', case when count(*) = 0 then 'ok' else 'warning' end,
        coalesce('anybody may create objects in: ' || string_agg(distinct n.nspname, ', '), 'only their owners create in them'),
        case when count(*) > 0 then 'Run: revoke create on schema … from public;' end
    from pg_extension as e
    inner join pg_namespace as n on n.oid = e.extnamespace
    where e.extname in ('vector', 'cube', 'pg_trgm') and has_schema_privilege('public', n.oid, 'create')
$$;

comment on function cad._doctor_installation() is 'Checks of versions and schemas.';

create or replace function cad._doctor_session_path(session_schemas name[])
returns table (check_name text, status text, detail text, hint text)
language sql stable parallel safe
set search_path from current
as $$
    select
        'search_path of this session', case when 'cad' = any(session_schemas) then 'ok' else 'warning' end,
        array_to_string(session_schemas, ', '),
        case
            when 'cad' <> all(session_schemas)
                then format(
                    'To call search_cad without cad. run: alter database %I set search_path = "$user", public, cad;',
                    current_database()
                )
        end
$$;

comment on function cad._doctor_session_path(name[]) is 'Check of the search_path of the caller.';

create or replace function cad._doctor_encoder()
returns table (check_name text, status text, detail text, hint text)
language plpgsql stable parallel unsafe
set search_path from current
as $$
declare
    health record;
    settings record;
begin
    select * into settings from cad._encoder_settings();
    select * into health from cad._request('health', '{}', '{}');
    if health.error is not null then
        return query select
            'encoder service', 'error', concat_ws(': ', health.error ->> 'message', nullif(health.error ->> 'detail', '')),
            health.error ->> 'hint';
        return;
    end if;
    return query
    select
        'encoder service',
        case when health.reply ->> 'pgcad_version' = e.extversion then 'ok' else 'warning' end,
        format('%s %s on %s at %s', settings.mode, health.reply ->> 'pgcad_version', health.reply ->> 'device', settings.socket),
        case
            when health.reply ->> 'pgcad_version' <> e.extversion
                then format('The extension is %s; install the same version on both sides.', e.extversion)
        end
    from pg_extension as e
    where e.extname = 'pgcad';
    return query
    select
        format('encoder of space %s', s.name),
        case when s.encoder_version is distinct from offered.version then 'error' else 'ok' end,
        coalesce(
            offered.error ->> 'message', format('vectors of %s, service runs %s', s.encoder_version, offered.version)
        ),
        case
            when offered.error is not null then offered.error ->> 'hint'
            when s.encoder_version <> offered.version
                then format(
                    'Start `pgcad serve` with the weights that made the vectors, or run: call cad.reembed(%L);', s.name
                )
        end
    from cad.space as s
    cross join lateral (
        select answer.reply ->> 'version' as version, answer.error
        from cad._request(
            'embed_parts',
            jsonb_build_object(
                'space', s.name, 'parts', jsonb '[{"text": null, "views": 0, "points": false, "brep": false}]'
            ),
            '{}'
        ) as answer
    ) as offered
    where s.encoder_version is not null and s.backend <> 'external'
    order by s.name;
end
$$;

comment on function cad._doctor_encoder() is 'Checks of the encoder service and its versions.';

create or replace function cad._doctor_data()
returns table (check_name text, status text, detail text, hint text)
language sql stable parallel restricted
set search_path from current
as $$
    select
        'ingest queue', case when count(*) filter (where i.state = 'failed') = 0 then 'ok' else 'warning' end,
        format(
            '%s pending, %s failed, %s done', count(*) filter (where i.state = 'pending'),
            count(*) filter (where i.state = 'failed'), count(*) filter (where i.state = 'done')
        ),
        case
            when count(*) filter (where i.state = 'failed') > 0
                then 'select source_uri, last_error from cad.ingest where state = ''failed''; then cad.retry_failed().'
        end
    from cad.ingest as i


    union all

    select
        'statistics of cad.model', case when s.stale then 'warning' else 'ok' end,
        case when s.stale then 'never made, or older than a tenth of the table' else 'up to date' end,
        case when s.stale then 'Words weigh in a search by how rare they are, which these tell. Run: analyze cad.model;' end
    from (select cad._statistics_are_stale() as stale) as s
$$;

comment on function cad._doctor_data() is 'Checks of the queue and of the planner''s statistics.';

create or replace function cad._doctor_spaces()
returns table (check_name text, status text, detail text, hint text)
language plpgsql stable parallel unsafe
set search_path from current
as $$
declare
    stored cad.space;
    parts bigint;
    missing bigint;
    stale bigint;
    previous regclass;
begin
    select count(*) into parts from cad.model;
    for stored in select * from cad.space as s order by s.name loop
        execute format($query$
            select
                count(*) filter (where v.model_id is null) as missing,
                count(*) filter (
                    where v.text_md5 <> cad._text_md5(m.name, m.description, m.description_zh, m.description_generated)
                    or v.encoder_version <> $1
                ) as stale
            from cad.model as m
            left join %s as v on v.model_id = m.model_id and v.family = m.family
        $query$, stored.vectors)
        into missing, stale
        using stored.encoder_version;
        check_name := format('vectors of space %s', stored.name);
        status := case when missing + stale = 0 or stored.backend = 'external' then 'ok' else 'warning' end;
        detail := format(
            '%s of %s parts have them, %s of another text or encoder', parts - missing, parts, stale
        );
        hint := case
            when status = 'warning'
                then format('Parts without are found by their words only. Run: call cad.reembed(%L);', stored.name)
        end;
        if status = 'warning' and cad._staged(stored.name) is not null then
            hint := 'Parts without are found by their words only, until the load is finished.';
        end if;
        return next;
        if cad._staged(stored.name) is not null then
            check_name := format('load into space %s', stored.name);
            status := 'warning';
            detail := format('begun, vectors are staged in %s', cad._staged(stored.name));
            hint := format(
                'Searches see them after: call cad.finish_load(%L); To give it up: select cad.cancel_load(%L);',
                stored.name, stored.name
            );
            return next;
        end if;
        previous := to_regclass(format('cad.%I', 'space_' || stored.name || '_previous'));
        if previous is not null then
            check_name := format('previous vectors of space %s', stored.name);
            status := 'ok';
            detail := format('kept in %s', previous);
            hint := format('When they are not wanted any more: select cad.drop_previous(%L);', stored.name);
            return next;
        end if;
        if to_regclass(format('cad.%I', 'space_' || stored.name || '_next')) is not null
            and cad._staged(stored.name) is null then
            check_name := format('next vectors of space %s', stored.name);
            status := 'warning';
            detail := 'cad.reembed is at work, or was stopped before its end';
            hint := format('To go on after a stop: call cad.reembed(%L);', stored.name);
            return next;
        end if;
    end loop;
end
$$;

comment on function cad._doctor_spaces() is
'Checks of every space: parts without vectors, vectors of another text or encoder, tables beside the present ones.';

create or replace function cad._doctor_row_security()
returns table (check_name text, status text, detail text, hint text)
language sql stable parallel safe
set search_path from current
as $$
    with uncovered as (
        select c.oid::regclass::text as name
        from pg_class as c
        where c.relnamespace = 'cad'::regnamespace
            and not c.relrowsecurity
            and not c.relispartition
            and (c.relname in ('artifact', 'view_image')
                or c.relname = 'part_code' and exists (select from cad.part_code)
                or c.oid in (
                select t.oid from cad.space as s cross join lateral (values (s.vectors::oid), (s.views::oid)) as t (oid)
            ))
            and (select m.relrowsecurity from pg_class as m where m.oid = 'cad.model'::regclass)
    )

    select
        'row level security', case when count(*) = 0 then 'ok' else 'warning' end,
        coalesce('on cad.model, but not on ' || string_agg(uncovered.name, ', ' order by uncovered.name), 'covers all or none'),
        case
            when count(*) > 0
                then 'They hold files, pictures and vectors of every part. For each: alter table … enable row level security; '
                || 'create policy visible_parts on … using (exists (select from cad.model as m where m.model_id = ….model_id));'
        end
    from uncovered
$$;

comment on function cad._doctor_row_security() is
'Check that what belongs to a part is hidden where the part is.';

create or replace function cad._doctor_indexes()
returns table (check_name text, status text, detail text, hint text)
language sql stable parallel safe
set search_path from current
as $$
    with leaf as (
        select
            c.oid, c.oid::regclass::text as name, s.name as space, s.dim, s.config -> 'indexes' as indexes,
            (
                select max(cad._build_bytes(w.key, w.value, s.dim, greatest(c.reltuples, 0)::bigint))
                from jsonb_each(s.config -> 'indexes') as w
            ) as build_bytes
        from cad.space as s
        inner join pg_inherits as i on i.inhparent = s.vectors
        inner join pg_class as c on c.oid = i.inhrelid
    ),

    required as (
        select max(leaf.build_bytes) as bytes from leaf
    ),

    broken as (
        select x.indexrelid::regclass::text as name
        from pg_index as x
        inner join pg_class as c on c.oid = x.indrelid
        where c.relnamespace = 'cad'::regnamespace and not (x.indisvalid and x.indisready)
    ),

    unindexed as (
        select format('%s: %s', leaf.name, wanted.kind) as name
        from leaf
        cross join jsonb_each(leaf.indexes) as wanted (kind, parameters)
        where not exists (
            select from cad._vector_indexes() as x
            where x.partition = leaf.oid and x.kind = wanted.kind and x.valid
                and cad._index_is_as_wanted(x.parameters, x.dim, wanted.parameters, leaf.dim, 0)
        )

        union all

        select leaf.space || ': no index at all'
        from leaf
        where leaf.indexes = '{}'
    ),

    outgrown as (
        select format('%s: %s', leaf.name, wanted.kind) as name
        from leaf
        cross join jsonb_each(leaf.indexes) as wanted (kind, parameters)
        inner join cad._vector_indexes() as x on x.partition = leaf.oid and x.kind = wanted.kind and x.valid
        where not wanted.parameters ? 'lists' and cad._is_outgrown(x.parameters, cad._parts_of(leaf.oid))
    )

    select
        'indexes', case when count(*) = 0 then 'ok' else 'error' end, coalesce(string_agg(broken.name, ', '), 'all valid'),
        case when count(*) > 0 then 'Run: reindex index concurrently …;' end
    from broken

    union all

    select
        'vector indexes', case when count(*) = 0 then 'ok' else 'error' end,
        coalesce(string_agg(unindexed.name, ', '), 'every partition has those of its space'),
        case
            when count(*) > 0
                then 'Searches cannot use an index that a partition lacks. Run, outside a transaction: call cad.add_index(''<space>'', ''<kind>'');'
        end
    from unindexed

    union all

    select
        'lists', case when count(*) = 0 then 'ok' else 'warning' end,
        coalesce(string_agg(outgrown.name, ', '), 'as many as the parts want'),
        case
            when count(*) > 0
                then 'These indexes were made for far fewer parts, and their lists have become long. Run, outside a transaction: '
                || 'call cad.add_index(''<space>'', ''<kind>'');'
        end
    from outgrown

    union all

    select
        'maintenance_work_mem',
        case when required.bytes > pg_size_bytes(current_setting('maintenance_work_mem')) then 'warning' else 'ok' end,
        format(
            '%s; the largest vector index needs about %s to build', current_setting('maintenance_work_mem'),
            pg_size_pretty(coalesce(required.bytes, 0)::bigint)
        ),
        case
            when required.bytes > pg_size_bytes(current_setting('maintenance_work_mem'))
                then 'An HNSW build that does not fit is many times slower, one of IVFFlat fails: raise maintenance_work_mem before '
                || 'reindexing.'
        end
    from required
$$;

comment on function cad._doctor_indexes() is 'Checks of the indexes and of the memory to build them.';

create or replace function cad._doctor_codes()
returns table (check_name text, status text, detail text, hint text)
language plpgsql stable parallel safe
set search_path from current
as $$
begin
    return query
    select
        format('codes of space %s', h.space),
        case when advice.text is null then 'ok' else 'warning' end,
        format('version %s is %s: %s parts, %s without code', h.version, h.state, h.parts, h.parts_without_code),
        advice.text
    from cad.code_health as h
    cross join lateral (
        select case
            when h.state = 'void'
                then format(
                    'They are of other vectors, so strategies lsh and tri are refused. Run: call cad.train_codes(%L); or '
                    'select cad.drop_codes(%L);', h.space, h.space
                )
            when h.state = 'building'
                then format('A training is at work, or was stopped. To go on after a stop: call cad.encode_parts(%L);', h.space)
            when h.parts > 4 * h.parts_trained
                then format('Trained when the space had %s parts. Run: call cad.train_codes(%L);', h.parts_trained, h.space)
            when h.parts_without_code > 0.1 * h.parts
                then format('Strategy tri compares such parts whole, which takes longer. Run: call cad.encode_parts(%L);', h.space)
        end as text
    ) as advice
    order by h.space, h.version;
end
$$;

comment on function cad._doctor_codes() is 'Checks of the codes of spaces.';

-- Without a set clause, because it looks at the search_path of the caller: every name below is qualified.
create or replace function cad.doctor()
returns table (check_name text, status text, detail text, hint text)
language plpgsql stable parallel unsafe
as $$
begin
    return query select d.* from cad._doctor_installation() as d;
    return query select d.* from cad._doctor_session_path(pg_catalog.current_schemas(false)) as d;
    return query select d.* from cad._doctor_encoder() as d;
    return query select d.* from cad._doctor_data() as d;
    return query select d.* from cad._doctor_spaces() as d;
    return query select d.* from cad._doctor_row_security() as d;
    return query select d.* from cad._doctor_indexes() as d;
    return query select d.* from cad._doctor_resident() as d;
    return query select d.* from cad._doctor_codes() as d;
end
$$;

comment on function cad.doctor() is
'Checks of this installation: one row each, status ok, warning or error, with what was found and what to do.';
