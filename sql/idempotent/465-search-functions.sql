-- The searches that people call: cad._cached_search with what each of them is given. Its result is held in a variable:
-- in the query that unnests it, the planner would run the search once more to learn how many hits there are.

create or replace function cad.search_cad(
    query text, k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(k, family, filters, options, query => query);
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad(text, int, text, jsonb, jsonb) is
'Parts by text, English or Chinese, description or part number: select * from search_cad(''M8 flange bolt, 40 mm'');';

create or replace function cad.search_cad_image(
    image bytea, k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(k, family, filters, options, image => image);
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_image(bytea, int, text, jsonb, jsonb) is
'Parts that look like a picture (PNG or JPEG): a render, a photo or a sketch.';

create or replace function cad.search_cad_shape(
    file bytea, format text,
    k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(k, family, filters, options, file => file, format => format);
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_shape(bytea, text, int, text, jsonb, jsonb) is
'Parts shaped like a file. Format: step, stl, obj, ply, glb, 3mf, off, xyz or npy.';

create or replace function cad.search_cad_points(
    points real[], k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(k, family, filters, options, points => points);
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_points(real[], int, text, jsonb, jsonb) is
'Parts shaped like a point cloud: an n x 3 array in mm.';

create or replace function cad.search_cad_like(
    model_id uuid, k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(k, family, filters, options, part => model_id);
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_like(uuid, int, text, jsonb, jsonb) is
'More parts like this one, itself left out.';

create or replace function cad.search_cad_multi(
    query text default null, image bytea default null, file bytea default null, format text default null,
    k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(
        k, family, filters, options, query => query, image => image, file => file, format => format
    );
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_multi(text, bytea, bytea, text, int, text, jsonb, jsonb) is
'Parts by any of a text, a picture and a file together; null for what is not given.';

create or replace function cad.search_cad_vector(
    space text, v vector,
    k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.hit
language plpgsql
stable parallel unsafe
cost 100000 rows 10
set search_path from current
as $$
declare
    hits constant cad.hit[] := cad._cached_search(
        k, family, filters, coalesce(options, '{}') || jsonb_build_object('space', space), v => v
    );
begin
    return query select hit.* from unnest(hits) as hit;
end
$$;

comment on function cad.search_cad_vector(text, vector, int, text, jsonb, jsonb) is
'Parts near a vector of one''s own in a space.';
