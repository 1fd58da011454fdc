-- Encoders as SQL. Stable, because a query must be able to use an index on the distance to an embedding; parallel
-- unsafe, because PL/Python opens a subtransaction for every query it runs, and PostgreSQL 15 allows none of them in a
-- parallel plan, not even in the leader.

create or replace function cad._embed(op text, header jsonb, payloads bytea[])
returns table (ordinal integer, embedding halfvec)
language plpgsql stable parallel unsafe cost 10000 rows 10
set search_path from current
as $$
declare
    answer record;
begin
    select * into answer from cad._request(op, header, payloads);
    perform cad._raise(answer.error);
    return query select v.ordinal::integer, v.embedding from unnest(answer.vectors) with ordinality as v (embedding, ordinal);
end
$$;

comment on function cad._embed(text, jsonb, bytea[]) is 'One request to the encoders that answers with vectors.';

create or replace function cad._points_payload(points real[]) returns bytea
language plpgsql immutable strict parallel safe
set search_path from current
as $$
declare
    most constant integer := 1000000; -- the cloud is held several times over in this backend, whoever asks
begin
    if array_ndims(points) is distinct from 2 or array_length(points, 2) <> 3 then
        raise exception 'points must be an n x 3 array, this one has dimensions %', coalesce(array_dims(points), '[0]')
            using errcode = 'invalid_parameter_value', hint = 'For example array[[0, 0, 0], [10, 0, 0]]::real[], in mm.';
    end if;
    if array_length(points, 1) > most then
        raise exception 'the cloud has % points, more than %', array_length(points, 1), most
            using errcode = 'program_limit_exceeded', hint = 'Take every nth point, or give it as a file of format npy.';
    end if;
    if exists (select from (select unnest(points) as coordinate) as p where p.coordinate is null) then
        raise exception 'points hold a null' using errcode = 'null_value_not_allowed', hint = 'Every point needs three numbers.';
    end if;
    return cad._float_bytes(array_send(points));
end
$$;

comment on function cad._points_payload(real[]) is
'Checks that an array is n x 3 and not too large, and packs it for the encoders.';

create or replace function cad._check_batch(items anyarray) returns anyarray
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    if array_ndims(items) > 1 then
        raise exception 'the array has % dimensions', array_ndims(items)
            using errcode = 'invalid_parameter_value', hint = 'Give one list: ordinal is the place in it.';
    end if;
    if array_position(items, null) is not null then
        raise exception 'the array holds a null at place %', array_position(items, null)
            using errcode = 'null_value_not_allowed', hint = 'Leave it out, for example with array_remove(…, null).';
    end if;
    return (items);
end
$$;

comment on function cad._check_batch(anyarray) is 'The items of a batch; refuses nulls and nested arrays.';

create or replace function cad._encode(
    space text,
    query text default null,
    image bytea default null,
    file bytea default null,
    format text default null,
    points real[] default null,
    out text_vec halfvec,
    out image_vec halfvec,
    out shape_vec halfvec,
    out brep_vec halfvec,
    out fused_vec halfvec,
    out version text
)
language plpgsql stable parallel unsafe cost 10000
set search_path from current
as $$
declare
    answer record;
    modalities text[];
begin
    if points is null then
        select * into answer
        from cad._request(
            'embed_multi',
            jsonb_build_object(
                'space', space, 'text', query, 'image', image is not null, 'shape', file is not null, 'format', format
            ),
            array_remove(array[image, file], null)
        );
        modalities := array(select jsonb_array_elements_text(answer.reply -> 'rows'));
    else
        select * into answer
        from cad._request('embed_points', jsonb_build_object('space', space), array[cad._points_payload(points)]);
        modalities := array['shape'];
    end if;
    perform cad._raise(answer.error);
    text_vec := answer.vectors[array_position(modalities, 'text')];
    image_vec := answer.vectors[array_position(modalities, 'image')];
    shape_vec := answer.vectors[array_position(modalities, 'shape')];
    brep_vec := answer.vectors[array_position(modalities, 'brep')];
    fused_vec := coalesce(answer.vectors[array_position(modalities, 'fused')], shape_vec);
    version := answer.reply ->> 'version';
end
$$;

comment on function cad._encode(text, text, bytea, bytea, text, real[]) is
'Vectors of a query: one per modality that was given and the fused one, with the encoder version.';

create or replace function cad.embed_text(query text, role text default 'query', space text default 'cad')
returns halfvec
language sql stable strict parallel unsafe cost 10000
set search_path from current
as $$
    select e.embedding
    from cad._embed(
        'embed_text', jsonb_build_object('space', space, 'texts', array[query], 'role', role), '{}'
    ) as e
$$;

comment on function cad.embed_text(text, text, text) is
'Vector of a text, unit length. Role is query (the default) or passage, for texts that are searched.';

create or replace function cad.embed_image(image bytea, space text default 'cad') returns halfvec
language sql stable strict parallel unsafe cost 10000
set search_path from current
as $$
    select e.embedding from cad._embed('embed_image', jsonb_build_object('space', space), array[image]) as e
$$;

comment on function cad.embed_image(bytea, text) is 'Vector of a picture (PNG or JPEG), unit length.';

create or replace function cad.embed_points(points real[], space text default 'cad') returns halfvec
language sql stable strict parallel unsafe cost 10000
set search_path from current
as $$
    select e.embedding
    from cad._embed('embed_points', jsonb_build_object('space', space), array[cad._points_payload(points)]) as e
$$;

comment on function cad.embed_points(real[], text) is 'Vector of a point cloud (n x 3, in mm), unit length.';

create or replace function cad.embed_shape(file bytea, format text, space text default 'cad') returns halfvec
language sql stable strict parallel unsafe cost 100000
set search_path from current
as $$
    select e.embedding
    from cad._embed('embed_shape', jsonb_build_object('space', space, 'formats', array[format]), array[file]) as e
$$;

comment on function cad.embed_shape(bytea, text, text) is
'Vector of a CAD file, unit length. Format: step, stl, obj, ply, glb, 3mf, off, xyz or npy.';

create or replace function cad.embed_texts(texts text[], role text default 'query', space text default 'cad')
returns table (ordinal integer, embedding halfvec)
language sql stable strict parallel unsafe cost 100000 rows 100
set search_path from current
as $$
    select e.ordinal, e.embedding
    from cad._embed(
        'embed_text', jsonb_build_object('space', space, 'texts', cad._check_batch(texts), 'role', role), '{}'
    ) as e
    where cardinality(texts) > 0
$$;

comment on function cad.embed_texts(text[], text, text) is 'Vectors of many texts in one call, in their order.';

create or replace function cad.embed_images(images bytea[], space text default 'cad')
returns table (ordinal integer, embedding halfvec)
language sql stable strict parallel unsafe cost 100000 rows 100
set search_path from current
as $$
    select e.ordinal, e.embedding
    from cad._embed('embed_image', jsonb_build_object('space', space), cad._check_batch(images)) as e
    where cardinality(images) > 0
$$;

comment on function cad.embed_images(bytea[], text) is 'Vectors of many pictures in one call, in their order.';

create or replace function cad.encoder_health() returns jsonb
language plpgsql stable parallel unsafe cost 10000
set search_path from current
as $$
declare
    answer record;
begin
    select * into answer from cad._request('health', '{}', '{}');
    perform cad._raise(answer.error);
    return answer.reply - array['v', 'id', 'ok', 'payloads'];
end
$$;

comment on function cad.encoder_health() is
'What the encoder service says of itself: version, device, spaces, queue, workers, requests. Waits two seconds at most.';
