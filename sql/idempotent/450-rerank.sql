-- The rerank: every candidate gets its exact scores, and their weighted mean decides. Where a part lacks a vector of
-- some modality, the cosine with its fused vector stands in, for that of its exact faces the one of its points; the
-- cosine with a zero vector is no number and counts as none. The part that was asked for by its number comes first: its
-- own, or an alias that has a digit, because the names of byte-identical files are aliases too.

create or replace function cad._cosines(parts uuid[], families text[], asked cad._query)
returns table (
    model_id uuid, fused_score double precision, text_score double precision, image_score double precision,
    shape_score double precision, brep_score double precision
)
language plpgsql
stable parallel restricted
rows 200
set search_path from current
set jit = off
set enable_hashjoin = off -- the candidates are few: look each up
set enable_mergejoin = off
as $$
begin
    return query execute format($query$
        select
            c.model_id,
            nullif(1 - (s.fused_vec <=> $2), 'NaN'),
            nullif(1 - (s.text_vec <=> $3), 'NaN'),
            coalesce(
                case when $7 then (
                    select max(nullif(1 - (v.vec <=> $4), 'NaN'))
                    from %2$s as v
                    where v.model_id = c.model_id
                ) end,
                nullif(1 - (s.image_vec <=> $4), 'NaN')
            ),
            nullif(1 - (s.shape_vec <=> $5), 'NaN'),
            nullif(1 - (s.brep_vec <=> $6), 'NaN')
        from unnest($1, $8) as c (model_id, family)
        left join %1$s as s on s.model_id = c.model_id and case when $9 then s.family else s.family || '' end = c.family
    $query$, asked.vectors, asked.views)
    using
        parts, asked.fused_vec, asked.text_vec, asked.image_vec, asked.shape_vec, asked.brep_vec,
        coalesce(asked.by_view, false), families, cad._sees_partitions(asked.vectors);
end
$$;

comment on function cad._cosines(uuid[], text[], cad._query) is
'The cosine of each of some parts, given with their families, with a question in every modality: of a picture, that of '
'the view most like it.';

create or replace function cad._scores(candidates uuid[], asked cad._query)
returns table (
    model_id uuid,
    part_number text,
    name text,
    family text,
    named boolean,
    text_score double precision,
    image_score double precision,
    shape_score double precision,
    lexical_score double precision,
    fused double precision,
    text double precision,
    image double precision,
    shape double precision,
    brep double precision,
    lexical double precision,
    numbers double precision,
    boost double precision
)
language plpgsql
stable parallel restricted
rows 200
set search_path from current
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan -- to plan it anew would take longer than to run it
as $$
-- A name that a hit and a score share is a column's:
#variable_conflict use_column
declare
    families text[];
begin
    select array_agg(m.model_id), array_agg(m.family) into candidates, families
    from unnest(candidates) as c (model_id)
    inner join cad.model as m on m.model_id = c.model_id;
    return query
    with scored as materialized ( -- once: flattened, every score would be computed several times
        select
            m.model_id,
            m.part_number,
            m.name,
            m.family,
            coalesce(
                lower(m.part_number) = lower(asked.words)
                or asked.words ~ '\d'
                and exists (select from unnest(m.aliases) as a (alias) where lower(a.alias) = lower(asked.words)),
                false
            ) as named,
            c.fused_score,
            c.text_score,
            c.image_score,
            c.shape_score,
            c.brep_score,
            greatest(
                (
                    select coalesce(sum(t.weight) filter (where whole.lexemes @@ t.term), 0) / sum(t.weight)
                    from unnest(asked.terms, asked.term_weights) as t (term, weight)
                ),
                (
                    select coalesce(sum(t.weight) filter (where whole.lexemes @@ t.term), 0) / sum(t.weight)
                    from unnest(asked.english_terms, asked.english_weights) as t (term, weight)
                ),
                (
                    select max(similarity(m.part_number, n.number))
                    from unnest(asked.part_numbers) as n (number)
                    having max(similarity(m.part_number, n.number)) >= show_limit() -- as the operator % means it
                )
            ) as lexical_score,
            (
                select coalesce(sum(t.weight) filter (where whole.numbers @@ t.term), 0) / sum(t.weight)
                from unnest(asked.number_terms, asked.number_weights) as t (term, weight)
            ) as number_score,
            case when asked.boost is not null then cad._boost(
                asked.boost, m.material, m.mass_kg, m.volume_mm3, m.size_mm
            ) end as boost_score
        from cad._cosines(candidates, families, asked) as c
        inner join cad.model as m on m.model_id = c.model_id
        cross join lateral ( -- unpacked once, not for every term
            select m.lexemes || '' as lexemes, m.numbers || '' as numbers
            offset 0
        ) as whole
    )

    select
        s.model_id,
        s.part_number,
        s.name,
        s.family,
        s.named,
        s.text_score,
        s.image_score,
        s.shape_score,
        s.lexical_score::double precision,
        coalesce(s.fused_score, 0),
        coalesce(s.text_score, s.fused_score, 0),
        coalesce(s.image_score, s.fused_score, 0),
        coalesce(s.shape_score, s.fused_score, 0),
        coalesce(s.brep_score, s.shape_score, s.fused_score, 0),
        coalesce(s.lexical_score, 0)::double precision,
        coalesce(s.number_score, 0)::double precision,
        coalesce(s.boost_score, 0)
    from scored as s;
end
$$;

comment on function cad._scores(uuid[], cad._query) is
'The exact scores of candidates: those that a hit tells, null where there is none, and all of them as they count.';

create or replace function cad._rerank(
    candidates uuid[], asked cad._query, weights jsonb, min_score real, k int
)
returns cad.hit[]
language plpgsql
stable parallel restricted
set search_path from current
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        with weighed as (
            select
                s.*,
                case when s.named then 1 else (
                    w.fused * s.fused + w.text * s.text + w.image * s.image + w.shape * s.shape + w.brep * s.brep
                    + w.lexical * s.lexical + w.numbers * s.numbers + w.boost * s.boost
                ) / (w.fused + w.text + w.image + w.shape + w.brep + w.lexical + w.numbers + w.boost) end as score
            from cad._scores(candidates, asked) as s
            cross join jsonb_to_record(weights) as w (
                fused double precision,
                text double precision,
                image double precision,
                shape double precision,
                brep double precision,
                lexical double precision,
                numbers double precision,
                boost double precision
            )
        ),

        ranked as (
            select
                weighed.*,
                row_number() over (order by weighed.named desc, weighed.score desc, weighed.model_id)::int as rank
            from weighed
            where min_score is null or weighed.score::real >= min_score -- a hit tells its score as a real
            order by rank
            limit k
        )

        select array_agg(
            row(
                r.rank, r.model_id, r.part_number, r.name, r.family, r.score,
                r.text_score, r.image_score, r.shape_score, r.lexical_score
            )::cad.hit
            order by r.rank
        )
        from ranked as r
    );
end
$$;

comment on function cad._rerank(uuid[], cad._query, jsonb, real, int) is
'The k best of the candidates by exact scores per modality and their weighted mean.';
