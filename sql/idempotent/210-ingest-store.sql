-- What becomes of one file of the queue: a new part, an alias of a part that is there, or a failure with its reason.

create or replace function cad._file_stem(uri text) returns text
language sql immutable strict parallel safe
set search_path from current
as $$
    select coalesce(nullif(regexp_replace(regexp_replace(uri, '^.*[/\\]', ''), '\.[^.]*$', ''), ''), uri)
$$;

comment on function cad._file_stem(text) is 'Name of a file without folder and extension.';

create or replace function cad._store_alias(queued bigint, part uuid, took_ms real default null) returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    with alias as (
        select coalesce(array_agg(distinct a.alias), '{}') as names
        from cad.ingest as i
        inner join cad.model as m on m.model_id = part
        cross join unnest(array[
            cad._clean_text(i.metadata ->> 'part_number'),
            cad._clean_text(i.metadata ->> 'name'),
            cad._clean_text(cad._file_stem(i.source_uri))
        ]) as a (alias)
        where i.ingest_id = queued
            and a.alias is distinct from m.part_number
            and a.alias <> m.name
            and a.alias <> all(m.aliases)
    ),

    named as (
        update cad.model as m
        set aliases = m.aliases || alias.names
        from alias
        where m.model_id = part and alias.names <> '{}'
    )

    update cad.ingest
    set state = 'done', outcome = 'duplicate', model_id = part, content = null, attempts = attempts + 1,
        last_error = null, last_sqlstate = null, finished_at = clock_timestamp(), elapsed_ms = took_ms
    where ingest_id = queued
$$;

comment on function cad._store_alias(bigint, uuid, real) is 'Ends a file of the queue as a byte-identical copy of a part.';

create or replace function cad._store_failure(queued bigint, failure jsonb, took_ms real) returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    update cad.ingest
    set state = 'failed', attempts = attempts + 1, last_sqlstate = failure ->> 'sqlstate', finished_at = clock_timestamp(),
        elapsed_ms = took_ms, last_error = concat_ws(
            ' ', failure ->> 'message', '(' || nullif(failure ->> 'detail', '') || ')', nullif(failure ->> 'hint', '')
        )
    where ingest_id = queued
$$;

comment on function cad._store_failure(bigint, jsonb, real) is 'Ends a file of the queue as failed, with its reason.';

create or replace function cad._store_model(queued bigint, report jsonb) returns uuid
language sql volatile parallel unsafe
set search_path from current
as $$
    -- No row where another transaction has stored the same bytes in the meantime.
    insert into cad.model (
        part_number, revision, name, name_zh, source_uri, sha256, format, kind, family, description, description_zh,
        description_generated, tags, material, unit_as_read, closed, volume_mm3, area_mm2, mass_kg, center_of_mass_mm,
        principal_moments_mm5, box_mm, size_mm, measures, face_count, edge_count, faces_by_type, edges_by_type, solid_count,
        component_count, triangle_count, genome
    )
    select
        cad._clean_text(m.part_number), cad._clean_text(m.revision), r.name, cad._clean_text(m.name_zh), i.source_uri,
        i.sha256, i.format, r.kind, coalesce(cad._clean_text(m.family), 'unclassified'), r.description, r.description_zh,
        coalesce(r.description_generated, false),
        array_remove(array(select cad._clean_text(t.tag) from unnest(m.tags) as t (tag)), null),
        cad._clean_text(m.material), r.unit_as_read, r.closed, r.volume_mm3, r.area_mm2, coalesce(m.mass_kg, m.density_kg_m3 * r.volume_mm3 * 1e-9),
        r.center_of_mass_mm, r.principal_moments_mm5, cube(r.box_min_mm, r.box_max_mm), r.size_mm,
        nullif(r.measures, 'null'), r.face_count,
        r.edge_count, r.faces_by_type, r.edges_by_type, r.solid_count, r.component_count, r.triangle_count,
        coalesce(nullif(r.genome, 'null'), '{}')
        || jsonb_strip_nulls(jsonb_build_object('names', r.names, 'colours', r.colours))
    from cad.ingest as i,
        jsonb_to_record(i.metadata) as m (
            part_number text, revision text, name_zh text, family text, material text, tags text[],
            mass_kg double precision, density_kg_m3 double precision
        ),
        jsonb_to_record(report) as r (
            kind text, unit_as_read text, closed boolean, volume_mm3 double precision, area_mm2 double precision,
            center_of_mass_mm real[], principal_moments_mm5 double precision[], box_min_mm double precision[],
            box_max_mm double precision[], size_mm real[], measures jsonb, face_count integer, edge_count integer, faces_by_type jsonb,
            edges_by_type jsonb, solid_count integer, component_count integer, names jsonb, colours jsonb,
            triangle_count integer, name text, description text, description_zh text, description_generated boolean,
            genome jsonb
        )
    where i.ingest_id = queued
    on conflict (sha256) do nothing
    returning model_id
$$;

comment on function cad._store_model(bigint, jsonb) is
'Inserts the part of a file of the queue from its metadata and the report of its analysis.';

create or replace function cad._store_part(queued bigint, answer cad._analysis) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    item cad.ingest;
    report jsonb := answer.report::jsonb;
    vectors halfvec[] := answer.vectors::halfvec[];
    part uuid := cad._store_model(queued, report);
begin
    select * into strict item from cad.ingest where ingest_id = queued;
    if part is null then
        select m.model_id into part from cad.model as m where m.sha256 = item.sha256;
        if not found then
            raise exception 'a part with the same bytes is there, but role % may not see it', current_user
                using errcode = 'insufficient_privilege', hint = 'Let a role load this file that sees every part.';
        end if;
        perform cad._store_alias(queued, part, answer.elapsed_ms);
        return;
    end if;

    insert into cad.artifact (model_id, role, media_type, content)
    values
    (part, 'original', 'application/octet-stream', item.content),
    (part, 'mesh', 'model/gltf-binary', answer.mesh),
    (part, 'points', 'application/octet-stream', answer.points),
    (part, 'silhouettes', 'application/octet-stream', answer.silhouettes),
    (part, 'thumbnail', 'image/png', answer.thumbnail);

    insert into cad.artifact (model_id, role, media_type, content)
    select part, 'brep', 'application/x-npz', answer.brep
    where octet_length(answer.brep) > 0;

    insert into cad.view_image (model_id, view, name, azimuth_deg, elevation_deg, png)
    select part, v.view, v.name, v.azimuth_deg, v.elevation_deg, answer.views[v.view + 1]
    from jsonb_to_recordset(report -> 'views') as v (
        view smallint, name text, azimuth_deg real, elevation_deg real
    );

    insert into cad.space_cad_view (model_id, view, vec)
    select part, number, vectors[number + 6]
    from generate_series(0, cardinality(vectors) - 6) as number;

    execute format($query$
        insert into %s (model_id, family, text_vec, image_vec, shape_vec, brep_vec, fused_vec, encoder_version, text_md5)
        select
            m.model_id, m.family,
            case when l2_norm($2[1]) > 0 then $2[1] end, -- zeros: of no text
            $2[2],
            $2[3],
            case when l2_norm($2[4]) > 0 then $2[4] end, -- zeros: of no exact faces
            $2[5],
            $3,
            cad._text_md5(m.name, m.description, m.description_zh, m.description_generated)
        from cad.model as m
        where m.model_id = $1
    $query$, coalesce(cad._staged('cad'), 'cad.space_cad'))
    using part, vectors, answer.encoder_version;

    update cad.ingest
    set state = 'done', outcome = 'new', model_id = part, content = null, attempts = attempts + 1, last_error = null,
        last_sqlstate = null, finished_at = clock_timestamp(), elapsed_ms = answer.elapsed_ms
    where ingest_id = queued;
end
$$;

comment on function cad._store_part(bigint, cad._analysis) is
'Stores the part, its files, views and vectors, these with a load that was begun; or an alias where the bytes are there '
'already.';
