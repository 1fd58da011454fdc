-- Nearest neighbours: the candidates of a search by vector. Both ways see only matching parts. Names of tables and
-- columns are those of a registered space; every value is a parameter, and execute plans for the values at hand.

create or replace function cad._nearest_indexed(space text, probe halfvec, filters jsonb, most int)
returns uuid[]
language plpgsql
stable parallel restricted
set search_path from current
set jit = off
set enable_seqscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set "hnsw.iterative_scan" = 'relaxed_order'
set "hnsw.ef_search" = 200
set "hnsw.max_scan_tuples" = 40000
as $$
declare
    found uuid[];
begin
    execute format($query$
        select array(
            select s.model_id
            from cad.%1$I as s
            where (not $2 ? 'family' or s.family = any (cad._texts($2 -> 'family')))
                and exists (select from cad._matching($2) as m where m.model_id = s.model_id)
            order by s.fused_vec <=> $1
            limit $3
        )
    $query$, 'space_' || space)
    into found
    using probe, filters, most;
    return found;
end
$$;

comment on function cad._nearest_indexed(text, halfvec, jsonb, int) is
'The matching parts nearest to a vector by the HNSW index on the fused vectors; may be fewer than there are.';

create or replace function cad._nearest_exact(space text, modality text, probe halfvec, filters jsonb, most int)
returns uuid[]
language plpgsql
stable parallel restricted
set search_path from current
set jit = off
as $$
declare
    found uuid[];
begin
    execute format($query$
        select array(
            select m.model_id
            from cad._matching($2) as m
            left join cad.%1$I as s on s.model_id = m.model_id and s.family = m.family
            order by (s.%2$I <=> $1) + 0.0, m.model_id
            limit $3
        )
    $query$, 'space_' || space, modality || '_vec')
    into found
    using probe, filters, most;
    return found;
end
$$;

comment on function cad._nearest_exact(text, text, halfvec, jsonb, int) is
'The matching parts nearest to a vector, every one compared; parts without that vector come last. Null for all.';
