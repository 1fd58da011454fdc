-- Filters: which parts a search may return. The whole filter is one static predicate. When a query is planned, its
-- conditions on keys that were not given fold away, and what remains can use an index. Every stage of a search reads
-- cad.model through here, so row level security on it holds in every search.

create or replace function cad._texts(value jsonb)
returns text[]
language sql
immutable strict parallel safe
set search_path from current
as $$
    select array(select jsonb_array_elements_text(jsonb_path_query_array(value, 'lax $[*]')))
$$;

comment on function cad._texts(jsonb) is 'A JSON string, or an array of them, as text[].';

create or replace function cad._size_range(size_mm jsonb)
returns cube
language sql
immutable strict parallel safe
set search_path from current
as $$
    select cube_enlarge(
        cube(array_agg(extent::double precision order by extent::double precision)),
        coalesce((size_mm -> 'tolerance_mm')::double precision, 1),
        3
    )
    from jsonb_array_elements_text(coalesce(size_mm -> 'extents', size_mm)) as extent
$$;

comment on function cad._size_range(jsonb) is
'The sorted extents that filters.size_mm lets through, as a box of three dimensions in mm.';

-- No set clause and a body bound at creation: only so can the planner inline it into the queries that call it.
create or replace function cad._matching(filters jsonb)
returns setof cad.model
language sql
stable parallel safe
rows 1000
begin atomic
    select m.*
    from cad.model as m
    where
        (not filters ? 'family' or m.family = any(cad._texts(filters -> 'family')))
        and (not filters ? 'kind' or m.kind = filters ->> 'kind')
        and (not filters ? 'material' or m.material = filters ->> 'material')
        and (not filters ? 'tags' or m.tags @> cad._texts(filters -> 'tags'))
        and (filters #> '{mass_kg,min}' is null or m.mass_kg >= (filters #> '{mass_kg,min}')::double precision)
        and (filters #> '{mass_kg,max}' is null or m.mass_kg <= (filters #> '{mass_kg,max}')::double precision)
        and (filters #> '{volume_mm3,min}' is null or m.volume_mm3 >= (filters #> '{volume_mm3,min}')::double precision)
        and (filters #> '{volume_mm3,max}' is null or m.volume_mm3 <= (filters #> '{volume_mm3,max}')::double precision)
        and (filters #> '{created_at,from}' is null or m.created_at >= (filters #>> '{created_at,from}')::timestamptz)
        and (filters #> '{created_at,to}' is null or m.created_at <= (filters #>> '{created_at,to}')::timestamptz)
        and (
            not filters ? 'size_mm'
            or cube(m.size_mm::double precision[]) <@ cad._size_range(filters -> 'size_mm')
        );
end;

comment on function cad._matching(jsonb) is
'The parts that validated filters let through and the caller may see.';
