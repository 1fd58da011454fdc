-- A second look at the first hits. Vectors tell what a part is like; whether a file or a scan is of this very part or
-- of one with a pin more shows only when the two are laid on top of each other, which the service does with the points
-- that are kept of each part (pgcad/geometry/registration.py). How well they fit is one more score of the rerank.

create or replace function cad._fits(file bytea, format text, points real[], parts uuid[])
returns real[]
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    asked constant bytea := coalesce(file, cad._points_payload(points));
    known int[]; -- places of the parts that points are kept of
    clouds bytea[];
    answer record;
    fits real[] := array_fill(null::real, array[cardinality(parts)]);
begin
    select array_agg(p.place order by p.place), array_agg(a.content order by p.place) into known, clouds
    from unnest(parts) with ordinality as p (model_id, place)
    inner join cad.artifact as a on a.model_id = p.model_id and a.role = 'points';
    if known is null then
        return fits;
    end if;
    select * into answer from cad._request('fit', jsonb_build_object('format', format), array[asked] || clouds);
    perform cad._raise(answer.error);
    for i in 1 .. cardinality(known) loop
        fits[known[i]] := (answer.reply -> 'fits' ->> i - 1)::real;
    end loop;
    return fits;
end
$$;

comment on function cad._fits(bytea, text, real[], uuid[]) is
'How well parts fit a file or a cloud, 0 to 1, in their order; null where no points of a part are kept.';

create or replace function cad._refit(hits cad.hit[], fits real[], weights jsonb, min_score real, k int)
returns cad.hit[]
language sql
stable parallel safe
set search_path from current
as $$
    with weighed as (
        select
            h.*,
            case when h.score = 1 then 1 else ( -- what was asked for by its number stays first
                w.others * h.score
                + w.fit * coalesce(fits[h.rank], (select min(f.fit) from unnest(fits) as f (fit)), 0)
            ) / (w.others + w.fit) end as mixed
        from unnest(hits) as h
        cross join (
            select
                case when array_remove(fits, null) <> '{}' then (weights ->> 'fit')::double precision else 0 end as fit,
                (select sum(o.value::double precision) from jsonb_each(weights - 'fit') as o) as others
        ) as w
    ),

    ranked as (
        select
            weighed.*,
            row_number() over (order by weighed.mixed desc, weighed.model_id)::int as place
        from weighed
        where min_score is null or weighed.mixed::real >= min_score
        order by place
        limit k
    )

    select array_agg(
        row(
            r.place, r.model_id, r.part_number, r.name, r.family, r.mixed,
            r.text_score, r.image_score, r.shape_score, r.lexical_score
        )::cad.hit
        order by r.place
    )
    from ranked as r
$$;

comment on function cad._refit(cad.hit[], real[], jsonb, real, int) is
'Hits with how well they fit as one more score. The first of them were looked at; the others, which were less alike, are '
'taken to fit as badly as the worst of those.';
