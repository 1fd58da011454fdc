-- A second look at the first hits of a picture. Vectors tell which family it shows; proportions and what sticks out
-- tell which part of it. The outline in the picture is compared with the silhouettes that are kept of each part, and
-- with finer ones of the best, which the service draws from their points (pgcad/geometry/silhouettes.py).

create or replace function cad._overlaps(
    image bytea, parts uuid[], out fits real[], out cameras jsonb, out plain_background boolean
)
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    known int[]; -- places of the parts that silhouettes are kept of
    silhouettes bytea[];
    answer record;
begin
    select array_agg(p.place order by p.place), array_agg(a.content order by p.place) into known, silhouettes
    from unnest(parts) with ordinality as p (model_id, place)
    inner join cad.artifact as a on a.model_id = p.model_id and a.role = 'silhouettes';
    if known is null then
        return;
    end if;
    select * into answer from cad._request('overlap', '{}', array[image] || silhouettes);
    perform cad._raise(answer.error);
    plain_background := answer.reply -> 'fits' <> 'null';
    select
        array_agg((answer.reply -> 'fits' ->> k.number - 1)::real order by p.place),
        jsonb_agg(answer.reply -> 'cameras' -> k.number - 1 order by p.place)
    into fits, cameras
    from generate_subscripts(parts, 1) as p (place)
    left join (
        select
            u.place,
            u.number::int as number
        from unnest(known) with ordinality as u (place, number)
    ) as k on k.place = p.place;
end
$$;

comment on function cad._overlaps(bytea, uuid[]) is
'How well parts agree with the outline in a picture, 0 to 1, and from which cameras they do, both in their order; null '
'where no silhouettes of a part are kept, and for all of them where the background of the picture is not plain.';

create or replace function cad._refined_overlaps(image bytea, parts uuid[], cameras jsonb) returns real[]
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    known int[];
    near jsonb;
    clouds bytea[];
    answer record;
    fits real[] := array_fill(null::real, array[cardinality(parts)]);
begin
    select
        array_agg(p.place order by p.place), jsonb_agg(cameras -> p.place::int - 1 order by p.place),
        array_agg(a.content order by p.place)
    into known, near, clouds
    from unnest(parts) with ordinality as p (model_id, place)
    inner join cad.artifact as a on a.model_id = p.model_id and a.role = 'points'
    where cameras -> p.place::int - 1 <> 'null'; -- or nothing says where to look from
    if known is null then
        return fits;
    end if;
    select * into answer
    from cad._request('refine_overlap', jsonb_build_object('cameras', near), array[image] || clouds);
    perform cad._raise(answer.error);
    for i in 1 .. cardinality(known) loop
        fits[known[i]] := (answer.reply -> 'fits' ->> i - 1)::real;
    end loop;
    return fits;
end
$$;

comment on function cad._refined_overlaps(bytea, uuid[], jsonb) is
'How well parts agree with the outline in a picture, seen from near the cameras listed for each; null where no points or '
'cameras of a part are known.';
