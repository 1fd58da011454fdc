-- Nearest neighbours: the candidates of a search by vector. Every way sees only matching parts. The table is that of a
-- registered space; every value is a parameter, and execute plans for the values at hand.

create or replace function cad._nearest_indexed(
    vectors regclass, probe halfvec, filters jsonb, most int, strategy text, kind text, dim int,
    out nearest uuid[], out settings jsonb
)
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
set "ivfflat.iterative_scan" = 'relaxed_order'
set "ivfflat.probes" = 10
as $$
-- The text put into the query is one of the constants of cad._index_kind:
-- @plpgsql_check_options: security_warnings = false
begin
    -- What is set here lasts as long as the function: its set clauses put back what was before.
    if strategy = 'hnsw' then
        perform set_config('hnsw.iterative_scan', 'off', true);
    end if;
    if kind = 'ivfflat' then
        perform set_config('ivfflat.probes', cad._probes(vectors)::text, true);
        settings := jsonb_build_object(
            'iterative_scan', current_setting('ivfflat.iterative_scan'),
            'probes', current_setting('ivfflat.probes')::int
        );
    else
        perform set_config('hnsw.ef_search', least(greatest(most, 40), 1000)::text, true);
        settings := jsonb_build_object(
            'iterative_scan', current_setting('hnsw.iterative_scan'),
            'ef_search', current_setting('hnsw.ef_search')::int,
            'max_scan_tuples', current_setting('hnsw.max_scan_tuples')::int
        );
    end if;
    execute format($query$
        select array(
            select s.model_id
            from %s as s
            where (not $2 ? 'family' or s.family = any (cad._texts($2 -> 'family')))
                and ($4 or exists (select from cad._matching($2) as m where m.model_id = s.model_id))
            order by %s
            limit $3
        )
    $query$, vectors, cad._nearness(kind, dim))
    into nearest
    using probe, filters, most, filters = '{}' and not row_security_active('cad.model'); -- then all match: no look at them
end
$$;

comment on function cad._nearest_indexed(regclass, halfvec, jsonb, int, text, text, int) is
'The matching parts nearest to a vector by an index on the fused vectors, as near as that index can tell, perhaps fewer '
'than there are; and the settings of that scan.';

create or replace function cad._probes(vectors regclass)
returns int
language sql
stable parallel safe
set search_path from current
as $$
    select greatest(10, ceil(sqrt(max(substr(p.parameter, 7)::int)))::int)
    from cad._vector_indexes() as x
    inner join cad.space as s on s.name = x.space
    cross join unnest(x.parameters) as p (parameter)
    where s.vectors = _probes.vectors and x.kind = 'ivfflat' and p.parameter like 'lists=%'
$$;

comment on function cad._probes(regclass) is 'How many lists of an IVFFlat index a search reads first: the root of all.';

create or replace function cad._nearest_exact(modality text, asked cad._query, filters jsonb, most int)
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
            left join %1$s as s on s.model_id = m.model_id and s.family = m.family
            order by coalesce(s.%2$I <=> ($1).%2$I, s.fused_vec <=> ($1).fused_vec) + 0.0, m.model_id
            limit $3
        )
    $query$, asked.vectors, modality || '_vec')
    into found
    using asked, filters, most;
    return found;
end
$$;

comment on function cad._nearest_exact(text, cad._query, jsonb, int) is
'The matching parts nearest to a question in one modality, every one compared as the rerank does it: the fused vectors '
'stand in where a part lacks its own, parts without vectors come last. Null for all.';
