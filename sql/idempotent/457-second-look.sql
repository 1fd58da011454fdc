-- How the first hits of a search are looked at a second time: a file or a cloud is laid on top of them, and the outline
-- in a picture is compared with theirs, roughly with many and finely with the best of these.

create or replace function cad._second_look(
    hits cad.hit[], weights jsonb, image bytea, file bytea, format text, points real[],
    out fits real[], out stages jsonb
)
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    refined_most constant int := 40;
    started timestamptz := clock_timestamp();
    parts constant uuid[] := array(select h.model_id from unnest(hits) as h order by h.rank);
    seen record;
    best int[];
    refined real[];
begin
    if file is not null or points is not null then
        fits := cad._fits(file, format, points, parts);
        stages := jsonb_build_array(cad._stage('fit', started, cardinality(fits), jsonb_build_object('fits', fits)));
        return;
    end if;
    seen := cad._overlaps(image, parts);
    fits := seen.fits;
    stages := jsonb_build_array(cad._stage('overlap', started, cardinality(parts), jsonb_build_object(
        'plain_background', seen.plain_background
    )));
    if array_remove(fits, null) <> '{}' then
        started := clock_timestamp();
        best := array(
            select array_position(parts, h.model_id)
            from unnest(cad._refit(hits, fits, weights, null, refined_most)) as h
            order by h.rank
        );
        refined := cad._refined_overlaps(
            image,
            array(select parts[b.place] from unnest(best) with ordinality as b (place, number) order by b.number),
            (
                select jsonb_agg(seen.cameras -> b.place - 1 order by b.number)
                from unnest(best) with ordinality as b (place, number)
            )
        );
        -- What was compared roughly alone is no better than the worst of the others: the measures are not the same.
        fits := array(
            select coalesce(refined[b.number], least(f.fit, (select min(r.fit) from unnest(refined) as r (fit))))
            from unnest(fits) with ordinality as f (fit, place)
            left join unnest(best) with ordinality as b (place, number) on b.place = f.place
            order by f.place
        );
        stages := stages || cad._stage('fit', started, cardinality(refined), jsonb_build_object('fits', refined));
    end if;
end
$$;

comment on function cad._second_look(cad.hit[], jsonb, bytea, bytea, text, real[]) is
'How well the first hits fit what was searched with, 0 to 1, in their order, and the stages of finding out.';
