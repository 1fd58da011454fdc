-- Encoders as SQL. Stable, because a query must be able to use an index on the distance to an embedding.

create or replace function cad._embed(op text, header jsonb, payloads bytea[])
returns table (ordinal integer, embedding halfvec, version text)
language plpython3u stable parallel restricted cost 10000 rows 10
set search_path from current
as $python$
import json

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
reply, bodies = pgcad.answer(op, json.loads(header), payloads)
rows = pgcad.vector_literals(bodies[0], reply['dim'])
return [(ordinal, row, reply['version']) for ordinal, row in enumerate(rows, start=1)]
$python$;

comment on function cad._embed(text, jsonb, bytea[]) is 'One request to the encoders that answers with vectors.';

create or replace function cad._points_payload(points real[]) returns bytea
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    if array_ndims(points) is distinct from 2 or array_length(points, 2) <> 3 then
        raise exception 'points must be an n x 3 array, this one has dimensions %', coalesce(array_dims(points), '[0]')
            using errcode = 'invalid_parameter_value', hint = 'For example array[[0, 0, 0], [10, 0, 0]]::real[], in mm.';
    end if;
    return cad._float_bytes(points);
end
$$;

comment on function cad._points_payload(real[]) is 'Checks that an array is n x 3 and packs it for the encoders.';

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
    out fused_vec halfvec,
    out version text
)
language plpython3u stable parallel restricted cost 10000
set search_path from current
as $python$
if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
if points is not None:
    plan = plpy.prepare('select cad._points_payload($1) as payload', ['real[]'])
    payload = plpy.execute(plan, [points])[0]['payload']
    reply, bodies = pgcad.answer('embed_points', {'space': space}, [payload])
    names = ['shape']
else:
    header = {'space': space, 'text': query, 'image': image is not None, 'shape': file is not None, 'format': format}
    reply, bodies = pgcad.answer('embed_multi', header, [part for part in (image, file) if part is not None])
    names = reply['rows']
vectors = dict(zip(names, pgcad.vector_literals(bodies[0], reply['dim'])))
fused = vectors.get('fused', vectors.get('shape'))
return vectors.get('text'), vectors.get('image'), vectors.get('shape'), fused, reply['version']
$python$;

comment on function cad._encode(text, text, bytea, bytea, text, real[]) is
'Vectors of a query: one per modality that was given and the fused one, with the encoder version.';

create or replace function cad.embed_text(query text, role text default 'query', space text default 'cad')
returns halfvec
language sql stable strict parallel restricted cost 10000
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
language sql stable strict parallel restricted cost 10000
set search_path from current
as $$
    select e.embedding from cad._embed('embed_image', jsonb_build_object('space', space), array[image]) as e
$$;

comment on function cad.embed_image(bytea, text) is 'Vector of a picture (PNG or JPEG), unit length.';

create or replace function cad.embed_points(points real[], space text default 'cad') returns halfvec
language sql stable strict parallel restricted cost 10000
set search_path from current
as $$
    select e.embedding
    from cad._embed('embed_points', jsonb_build_object('space', space), array[cad._points_payload(points)]) as e
$$;

comment on function cad.embed_points(real[], text) is 'Vector of a point cloud (n x 3, in mm), unit length.';

create or replace function cad.embed_shape(file bytea, format text, space text default 'cad') returns halfvec
language sql stable strict parallel restricted cost 100000
set search_path from current
as $$
    select e.embedding
    from cad._embed('embed_shape', jsonb_build_object('space', space, 'formats', array[format]), array[file]) as e
$$;

comment on function cad.embed_shape(bytea, text, text) is
'Vector of a CAD file, unit length. Format: step, stl, obj, ply, glb, 3mf, off, xyz or npy.';

create or replace function cad.embed_texts(texts text[], role text default 'query', space text default 'cad')
returns table (ordinal integer, embedding halfvec)
language sql stable strict parallel restricted cost 100000 rows 100
set search_path from current
as $$
    select e.ordinal, e.embedding
    from cad._embed('embed_text', jsonb_build_object('space', space, 'texts', texts, 'role', role), '{}') as e
    where cardinality(texts) > 0
$$;

comment on function cad.embed_texts(text[], text, text) is 'Vectors of many texts in one call, in their order.';

create or replace function cad.embed_images(images bytea[], space text default 'cad')
returns table (ordinal integer, embedding halfvec)
language sql stable strict parallel restricted cost 100000 rows 100
set search_path from current
as $$
    select e.ordinal, e.embedding
    from cad._embed('embed_image', jsonb_build_object('space', space), images) as e
    where cardinality(images) > 0
$$;

comment on function cad.embed_images(bytea[], text) is 'Vectors of many pictures in one call, in their order.';

create or replace function cad.encoder_health() returns jsonb
language plpython3u stable parallel restricted cost 10000
set search_path from current
as $python$
import json

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
reply, _ = GD['pgcad @client_sha256@'].answer('health', {})
return json.dumps({key: value for key, value in reply.items() if key not in ('v', 'id', 'ok', 'payloads')})
$python$;

comment on function cad.encoder_health() is
'What the encoder service says of itself: version, device, spaces, queue, workers, requests.';
