-- The vectors of a space, made from what is stored of its parts: which parts lack them, and a batch of these.

create or replace function cad._parts_without_vectors(vectors regclass, wanted text, after uuid, most integer)
returns uuid[]
language plpgsql volatile strict parallel unsafe
set search_path from current
set enable_hashjoin = off -- a batch is wanted, not the whole table: walk the key and look each part up
set enable_mergejoin = off
set jit = off
as $$
declare
    parts uuid[];
begin
    execute format($query$
        select array(
            select m.model_id
            from cad.model as m
            where m.model_id > $1 and not exists (
                select from %s as v
                where v.model_id = m.model_id and v.family = m.family and v.encoder_version = $2
                    and coalesce(
                        v.text_md5
                        = cad._text_md5(m.name, m.description, m.description_zh, m.description_generated),
                        true
                    )
            )
            order by m.model_id
            limit $3
        )
    $query$, vectors)
    into parts
    using after, wanted, most;
    return parts;
end
$$;

comment on function cad._parts_without_vectors(regclass, text, uuid, integer) is
'Parts behind a given one, in order, that have no row of this encoder version in a table of vectors, or whose text has '
'changed since.';

create or replace function cad._encoder_inputs(backend text, encoder jsonb) returns text[]
language sql immutable parallel safe
set search_path from current
as $$
    select case backend
        when 'open_clip' then '{text,views}'::text[]
        when 'http' then array(
            select case m.modality when 'image' then 'views' else m.modality end
            from jsonb_array_elements_text(encoder -> 'modalities') as m (modality)
        )
        else case encoder ->> 'tower' when 'brep' then '{text,views,brep}' else '{text,views,points,brep}' end::text[]
    end
$$;

comment on function cad._encoder_inputs(text, jsonb) is
'What of a part an encoder is sent: text, views, points, brep. The rest would travel for nothing.';

create or replace function cad._service_version(space text) returns text
language plpgsql volatile strict parallel unsafe
set search_path from current
as $$
declare
    answer record;
begin
    select * into answer from cad._request(
        'embed_parts',
        jsonb_build_object(
            'space', space, 'parts', jsonb '[{"text": null, "views": 0, "points": false, "brep": false}]'
        ),
        '{}'
    );
    perform cad._raise(answer.error);
    return answer.reply ->> 'version';
end
$$;

comment on function cad._service_version(text) is
'The version of the encoder that the service runs for a space, asked with a part of which nothing can be made.';

create or replace function cad._made_vectors(parts uuid[], reply jsonb, vectors halfvec[])
returns table (model_id uuid, kind text, vec halfvec)
language sql immutable strict parallel safe rows 400
set search_path from current
as $$
    select parts[made.place], made.kind, v.vec
    from (
        select r.place, k.kind, row_number() over (order by r.place, k.place) as number
        from jsonb_array_elements(reply -> 'rows') with ordinality as r (kinds, place)
        cross join lateral jsonb_array_elements_text(r.kinds) with ordinality as k (kind, place)
    ) as made
    inner join unnest(vectors) with ordinality as v (vec, number) on v.number = made.number
$$;

comment on function cad._made_vectors(uuid[], jsonb, halfvec[]) is
'The answer about a batch of parts: which vector is what of which part.';

create or replace function cad._embed_parts(
    stored cad.space, parts uuid[], out reply jsonb, out vectors halfvec[], out texts_md5 uuid[]
)
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    inputs constant text[] := cad._encoder_inputs(stored.backend, stored.encoder);
    announced jsonb;
    payloads bytea[];
    answer record;
begin
    select
        jsonb_agg(jsonb_build_object(
            'text', case
                when 'text' = any(inputs)
                    then cad._passage(m.name, m.description, m.description_zh, m.description_generated)
            end,
            'described', not m.description_generated,
            'views', (select count(*) from cad.view_image as v where v.model_id = p.part and 'views' = any(inputs)),
            'points', exists (
                select from cad.artifact as a
                where a.model_id = p.part and a.role = 'points' and 'points' = any(inputs)
            ),
            'brep', exists (
                select from cad.artifact as a where a.model_id = p.part and a.role = 'brep' and 'brep' = any(inputs)
            )
        ) order by p.place),
        array_agg(cad._text_md5(m.name, m.description, m.description_zh, m.description_generated) order by p.place)
    into announced, texts_md5
    from unnest(parts) with ordinality as p (part, place)
    left join cad.model as m on m.model_id = p.part;
    payloads := array(
        select content.payload
        from unnest(parts) with ordinality as p (part, place)
        cross join lateral (
            select 'views' as input, v.view, v.png as payload from cad.view_image as v where v.model_id = p.part
            union all
            select a.role, 0, a.content from cad.artifact as a where a.model_id = p.part and a.role in ('points', 'brep')
        ) as content
        where content.input = any(inputs)
        order by p.place, array_position('{views,points,brep}'::text[], content.input), content.view
    );
    select * into answer
    from cad._request('embed_parts', jsonb_build_object('space', stored.name, 'parts', announced), payloads);
    perform cad._raise(answer.error);
    reply := answer.reply;
    vectors := coalesce(answer.vectors, '{}');
    if (reply ->> 'dim')::integer <> stored.dim then
        raise exception 'the encoder of space % makes vectors of % numbers, the space has %',
            stored.name, reply ->> 'dim', stored.dim
            using errcode = '22023', hint = 'Add a space of that many dimensions for it: cad.add_space.';
    end if;
    if jsonb_array_length(reply -> 'rows') <> cardinality(parts)
        or (select count(*) from jsonb_path_query(reply, '$.rows[*][*]')) <> cardinality(vectors) then
        raise exception 'the encoder service was asked about % parts and answered % vectors for %',
            cardinality(parts), cardinality(vectors), jsonb_array_length(reply -> 'rows')
            using errcode = '08P01', hint = 'Install the same version of pgcad on both sides and restart `pgcad serve`.';
    end if;
end
$$;

comment on function cad._embed_parts(cad.space, uuid[]) is
'Sends what is stored of some parts to the encoder of a space: which vectors it made, these, and the MD5 of the texts.';

create or replace function cad._embed_batch(
    stored cad.space, vectors regclass, views regclass, wanted text, parts uuid[]
) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    half constant integer := cardinality(parts) / 2;
    most_text constant integer := 800000; -- bytes; the header of a request holds a million
    made record;
begin
    if half > 0 and (
        select sum(octet_length(
            cad._passage(m.name, m.description, m.description_zh, m.description_generated)
        )) > most_text
        from cad.model as m
        where m.model_id = any(parts)
    ) then
        perform cad._embed_batch(stored, vectors, views, wanted, parts[:half]);
        perform cad._embed_batch(stored, vectors, views, wanted, parts[half + 1:]);
        return;
    end if;
    made := cad._embed_parts(stored, parts);
    if made.reply ->> 'version' <> wanted then
        raise exception 'the encoder service runs % for space % now, it began with %',
            made.reply ->> 'version', stored.name, wanted
            using errcode = '55000', hint = format('Run again: call cad.reembed(%L);', stored.name);
    end if;
    -- Parts that went away meanwhile drop out, and the others stay as they are until the commit. Locked before their
    -- vectors, which is the order of whoever deletes a part.
    perform from cad.model as m where m.model_id = any(parts) order by m.model_id for key share;
    execute format('delete from %s where model_id = any($1)', vectors) using parts;
    execute format('delete from %s where model_id = any($1)', views) using parts;
    execute format($query$
        insert into %s (model_id, family, text_vec, image_vec, shape_vec, brep_vec, fused_vec, encoder_version, text_md5)
        select
            m.model_id,
            m.family,
            (array_agg(v.vec) filter (where v.kind = 'text'))[1],
            (array_agg(v.vec) filter (where v.kind = 'image'))[1],
            (array_agg(v.vec) filter (where v.kind = 'shape'))[1],
            (array_agg(v.vec) filter (where v.kind = 'brep'))[1],
            (array_agg(v.vec) filter (where v.kind = 'fused'))[1],
            $4,
            p.text_md5
        from unnest($1, $5) as p (model_id, text_md5)
        inner join cad.model as m on m.model_id = p.model_id
        left join cad._made_vectors($1, $2, $3) as v on v.model_id = m.model_id
        group by m.model_id, m.family, p.text_md5
    $query$, vectors)
    using parts, made.reply, made.vectors, wanted, made.texts_md5;
    execute format($query$
        insert into %s (model_id, view, vec)
        select m.model_id, substr(v.kind, 6)::smallint, v.vec
        from cad._made_vectors($1, $2, $3) as v
        inner join cad.model as m on m.model_id = v.model_id
        where v.kind like 'view %%'
    $query$, views)
    using parts, made.reply, made.vectors;
end
$$;

comment on function cad._embed_batch(cad.space, regclass, regclass, text, uuid[]) is
'Makes the vectors of some parts and puts them in place of what the tables hold of them, all or nothing. A part of which '
'the encoder makes nothing gets a row without vectors, so that it is not asked about again.';
