-- The rerank: every candidate gets its exact scores, and their weighted mean decides. Where a part lacks a vector of
-- some modality, the cosine with its fused vector stands in; the cosine with a zero vector is no number and counts as
-- none. The part that was asked for by its number comes first: its own, or an alias that has a digit, because the names
-- of byte-identical files are aliases too.

create or replace function cad._rerank(
    candidates uuid[], asked cad._query, weights jsonb, min_score real, k int
)
returns cad.hit[]
language plpgsql
stable parallel restricted
set search_path from current
set jit = off
set enable_hashjoin = off -- the candidates are few: look each up
set enable_mergejoin = off
as $$
declare
    hits cad.hit[];
begin
    execute format($query$
        with scored as materialized ( -- once: flattened, every distance would be computed several times
            select
                m.model_id,
                m.part_number,
                m.name,
                m.family,
                coalesce(
                    lower(m.part_number) = lower(($2).words)
                    or ($2).words ~ '\d'
                    and exists (select from unnest(m.aliases) as a (alias) where lower(a.alias) = lower(($2).words)),
                    false
                ) as named,
                nullif(1 - (s.fused_vec <=> ($2).fused_vec), 'NaN') as fused_score,
                nullif(1 - (s.text_vec <=> ($2).text_vec), 'NaN') as text_score,
                case
                    when ($2).by_view then coalesce(
                        (
                            select max(nullif(1 - (v.vec <=> ($2).image_vec), 'NaN'))
                            from %2$s as v
                            where v.model_id = m.model_id
                        ),
                        nullif(1 - (s.image_vec <=> ($2).image_vec), 'NaN')
                    )
                    else nullif(1 - (s.image_vec <=> ($2).image_vec), 'NaN')
                end as image_score,
                nullif(1 - (s.shape_vec <=> ($2).shape_vec), 'NaN') as shape_score,
                greatest(
                    (
                        select coalesce(sum(t.weight) filter (where whole.lexemes @@ t.term), 0) / sum(t.weight)
                        from unnest(($2).terms, ($2).term_weights) as t (term, weight)
                    ),
                    (
                        select coalesce(sum(t.weight) filter (where whole.lexemes @@ t.term), 0) / sum(t.weight)
                        from unnest(($2).english_terms, ($2).english_weights) as t (term, weight)
                    ),
                    (
                        select max(similarity(m.part_number, n.number))
                        from unnest(($2).part_numbers) as n (number)
                        having max(similarity(m.part_number, n.number)) >= show_limit() -- as the operator %% means it
                    )
                ) as lexical_score,
                (
                    select coalesce(sum(t.weight) filter (where whole.numbers @@ t.term), 0) / sum(t.weight)
                    from unnest(($2).number_terms, ($2).number_weights) as t (term, weight)
                ) as number_score
            from unnest($1) as c (model_id)
            inner join cad.model as m on m.model_id = c.model_id
            cross join lateral ( -- unpacked once, not for every term
                select m.lexemes || '' as lexemes, m.numbers || '' as numbers
                offset 0
            ) as whole
            left join %1$s as s on s.model_id = m.model_id and s.family = m.family
        ),

        fused as (
            select
                scored.*,
                case when scored.named then 1 else (
                    w.fused * coalesce(scored.fused_score, 0)
                    + w.text * coalesce(scored.text_score, scored.fused_score, 0)
                    + w.image * coalesce(scored.image_score, scored.fused_score, 0)
                    + w.shape * coalesce(scored.shape_score, scored.fused_score, 0)
                    + w.lexical * coalesce(scored.lexical_score, 0)
                    + w.numbers * coalesce(scored.number_score, 0)
                ) / (w.fused + w.text + w.image + w.shape + w.lexical + w.numbers) end as score
            from scored
            cross join jsonb_to_record($3) as w (
                fused double precision,
                text double precision,
                image double precision,
                shape double precision,
                lexical double precision,
                numbers double precision
            )
        ),

        ranked as (
            select
                fused.*,
                row_number() over (order by fused.named desc, fused.score desc, fused.model_id)::int as rank
            from fused
            where $4 is null or fused.score::real >= $4 -- a hit tells its score as a real
            order by rank
            limit $5
        )

        select array_agg(
            row(
                r.rank, r.model_id, r.part_number, r.name, r.family, r.score,
                r.text_score, r.image_score, r.shape_score, r.lexical_score
            )::cad.hit
            order by r.rank
        )
        from ranked as r
    $query$, asked.vectors, asked.views)
    into hits
    using candidates, asked, weights, min_score, k;
    return hits;
end
$$;

comment on function cad._rerank(uuid[], cad._query, jsonb, real, int) is
'The k best of the candidates by exact scores per modality and their weighted mean.';
