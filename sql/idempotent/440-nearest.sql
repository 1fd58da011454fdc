-- Nearest neighbours: the candidates of a search by vector. Every way sees only matching parts. The table is that of a
-- registered space; every value is a parameter, and execute plans for the values at hand.

create or replace function cad._set_scan(scan jsonb, strategy text)
returns void
language plpgsql
volatile parallel restricted
set search_path from current
as $$
begin
    perform set_config('enable_seqscan', case when scan ? 'kind' then 'off' else 'on' end, true);
    perform set_config('hnsw.iterative_scan', case strategy when 'hnsw' then 'off' else 'relaxed_order' end, true);
    if scan ? 'ef_search' then
        perform set_config('hnsw.ef_search', scan ->> 'ef_search', true);
    elsif scan ? 'probes' then
        perform set_config('ivfflat.probes', scan ->> 'probes', true);
    end if;
end
$$;

comment on function cad._set_scan(jsonb, text) is
'Sets what one scan of a plan needs, until the function that calls it ends: its set clauses name the same settings.';

create or replace function cad._nearest_by_plan(
    asked cad._query, filters jsonb, most int, strategy text, scans jsonb, out nearest uuid[], out settings jsonb
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
set "ivfflat.probes" = 20
as $$
-- The text put into the query is one of the constants of cad._index_kind, and is_wanted:
-- @plpgsql_check_options: security_warnings = false
declare
    -- As one half of an OR it would be run for all parts at once, into a hash.
    is_wanted constant text := case
        when filters = '{}' and not row_security_active('cad.model') then 'true' -- all match: no look at them
        else 'exists (select from cad._matching($2) as m where m.model_id = s.model_id)'
    end;
    scan jsonb;
    found_parts uuid[];
    found_distances double precision[];
    question record;
    coded record;
    parts uuid[] := array[]::uuid[];
    distances double precision[] := array[]::double precision[];
begin
    settings := jsonb '[]';
    for scan in select s.value from jsonb_array_elements(scans) as s loop
        if strategy = 'hnsw' then -- a single scan, which brings no more than it looks at
            scan := scan || jsonb_build_object('ef_search', greatest((scan ->> 'ef_search')::int, least(most, 1000)));
        end if;
        perform cad._set_scan(scan, strategy);
        if scan ->> 'kind' = any (cad._code_kinds()) then
            if question is null then
                question := cad._ask_codes(
                    asked.vectors, asked.fused_vec, array(select s.value ->> 'kind' from jsonb_array_elements(scans) as s)
                );
            end if;
            coded := cad._nearest_by_codes(
                asked, filters, (scan -> 'candidates')::int, scan, question.book, question.probes,
                case scan ->> 'kind' when 'tri' then question.similarities end
            );
            settings := settings || (scan - 'only' - 'but' || jsonb_build_object('stages', coded.stages));
            parts := parts || coded.parts;
            distances := distances || coded.distances;
            continue;
        end if;
        settings := settings || (scan - 'only' - 'but');
        execute format($query$
            select array_agg(c.model_id) as parts, array_agg(c.distance) as distances
            from (
                select s.model_id, s.fused_vec <=> $1 as distance
                from %s as s
                where (not $2 ? 'family' or s.family = any (cad._texts($2 -> 'family')))
                    and (not $4 ? 'only' or s.family = any (cad._texts($4 -> 'only')))
                    and (not $4 ? 'but' or s.family <> all (cad._texts($4 -> 'but')))
                    and %s
                order by %s
                limit $3
            ) as c
        $query$, asked.vectors, is_wanted, coalesce(cad._nearness(scan ->> 'kind', (scan -> 'dim')::int), '(s.fused_vec <=> $1) + 0.0'))
        into found_parts, found_distances
        using asked.fused_vec, filters, coalesce((scan -> 'candidates')::int, most), scan;
        parts := parts || found_parts;
        distances := distances || found_distances;
    end loop;
    nearest := array(
        select f.part from unnest(parts, distances) as f (part, distance) order by f.distance, f.part limit most
    );
end
$$;

comment on function cad._nearest_by_plan(cad._query, jsonb, int, text, jsonb) is
'The matching parts nearest to a question by its fused vector, nearest first, as near as the scans of a plan can tell, '
'perhaps fewer than there are; and the settings of the scans.';

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
            left join %1$s as s
                on s.model_id = m.model_id and case when $4 then s.family else s.family || '' end = m.family
            order by coalesce(s.%2$I <=> ($1).%2$I, s.fused_vec <=> ($1).fused_vec) + 0.0, m.model_id
            limit $3
        )
    $query$, asked.vectors, modality || '_vec')
    into found
    using asked, filters, most, cad._sees_partitions(asked.vectors);
    return found;
end
$$;

comment on function cad._nearest_exact(text, cad._query, jsonb, int) is
'The matching parts nearest to a question in one modality, every one compared as the rerank does it: the fused vectors '
'stand in where a part lacks its own, parts without vectors come last. Null for all.';

create or replace function cad._is_short(nearest uuid[], most int, filters jsonb)
returns boolean
language plpgsql
stable parallel restricted
set search_path from current
as $$
begin
    if cardinality(nearest) >= most then
        return false;
    end if;
    return cardinality(nearest) < (select count(*) from (select from cad._matching(filters) limit most) as m);
end
$$;

comment on function cad._is_short(uuid[], int, jsonb) is 'Whether fewer parts were found than match and were wanted.';
