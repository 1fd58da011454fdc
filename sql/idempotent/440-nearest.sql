-- Nearest neighbours: the candidates of a search by vector. Every way brings only matching parts. The table is that of
-- a registered space; every value is a parameter, and execute plans for the values at hand.

create or replace function cad._set_scan(scan jsonb, strategy text)
returns void
language plpgsql
volatile parallel restricted
set search_path from current
as $$
begin
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

create or replace function cad._all_match(filters jsonb)
returns boolean
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    return filters = '{}' and not row_security_active('cad.model');
end
$$;

comment on function cad._all_match(jsonb) is 'Whether nobody has to look which parts match.';

create or replace function cad._nearest_one_by_one(
    asked cad._query, filters jsonb, most int, scan jsonb, out parts uuid[], out distances double precision[]
)
language plpgsql
stable parallel restricted
set search_path from current
set enable_seqscan = on -- which cad._nearest_by_plan turns off, as it does sorting
set enable_sort = on
as $$
-- The text put into the query is the name of a table, and is_wanted:
-- @plpgsql_check_options: security_warnings = false
declare
    -- As one half of an OR it would be run for all parts at once, into a hash.
    is_wanted constant text := case
        when cad._all_match(filters) then 'true'
        else 'exists (select from cad._matching($2) as m where m.model_id = s.model_id)'
    end;
begin
    execute format($query$
        select array_agg(c.model_id), array_agg(c.distance)
        from (
            select s.model_id, s.fused_vec <=> $1 as distance
            from %s as s
            where (not $4 ? 'only' or s.family = any (cad._texts($4 -> 'only')))
                and (not $4 ? 'but' or s.family <> all (cad._texts($4 -> 'but')))
                and %s
            order by (s.fused_vec <=> $1) + 0.0
            limit $3
        ) as c
    $query$, asked.vectors, is_wanted)
    into parts, distances
    using asked.fused_vec, filters, most, scan;
end
$$;

comment on function cad._nearest_one_by_one(cad._query, jsonb, int, jsonb) is
'The matching parts of a partition nearest to a question, each of them compared.';

create or replace function cad._only_matching(
    filters jsonb, most int, inout parts uuid[], inout distances double precision[]
)
language plpgsql
stable parallel restricted
set search_path from current
set plan_cache_mode = force_generic_plan -- for a few parts, planning would take longer than it saves
set enable_hashjoin = on -- which cad._nearest_by_plan turns off, as it does sorting
set enable_sort = on
as $$
declare
    few constant int := 500;
begin
    if cardinality(parts) > few then -- to know all that match may be quicker than to look each of these up
        perform set_config('plan_cache_mode', 'force_custom_plan', true);
    end if;
    select array_agg(f.part), array_agg(f.distance) into parts, distances
    from (
        select u.part, u.distance
        from unnest(_only_matching.parts, _only_matching.distances) with ordinality as u (part, distance, place)
        where u.part in (select m.model_id from cad._matching(_only_matching.filters) as m)
        order by u.place
        limit most
    ) as f;
end
$$;

comment on function cad._only_matching(jsonb, int, uuid[], double precision[]) is
'The first of some parts that match; no more of them are looked at than that takes.';

create or replace function cad._nearest_by_index(
    asked cad._query, filters jsonb, most int, scan jsonb, out parts uuid[], out distances double precision[]
)
language plpgsql
stable parallel restricted
set search_path from current
as $$
-- The text put into the query is the name of a table, and one of the constants of cad._index_kind:
-- @plpgsql_check_options: security_warnings = false
declare
    rounds constant int := 3; -- where fewer match near the question than elsewhere; then comparing all is not much slower
    fetched int := (scan ->> 'candidates')::int;
    is_all boolean;
begin
    for round in 1..rounds loop
        execute format($query$
            select array_agg(c.model_id order by c.distance), array_agg(c.distance order by c.distance)
            from (
                select s.model_id, s.fused_vec <=> $1 as distance
                from %s as s
                where (not $3 ? 'only' or s.family = any (cad._texts($3 -> 'only')))
                    and (not $3 ? 'but' or s.family <> all (cad._texts($3 -> 'but')))
                order by %s
                limit $2
            ) as c
        $query$, asked.vectors, cad._nearness(scan ->> 'kind', (scan -> 'dim')::int))
        into parts, distances
        using asked.fused_vec, fetched, scan;
        exit when parts is null or cad._all_match(filters);
        is_all := cardinality(parts) < fetched; -- that the index has
        select m.parts, m.distances into parts, distances from cad._only_matching(filters, most, parts, distances) as m;
        exit when is_all or cardinality(parts) >= most;
        fetched := 4 * fetched;
    end loop;
end
$$;

comment on function cad._nearest_by_index(cad._query, jsonb, int, jsonb) is
'The matching parts of a partition nearest to a question, as near as an index can tell, and the whole vector among what it '
'brings: whether a part matches is looked up for the nearest alone. Perhaps fewer than there are.';

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
declare
    scan jsonb;
    question record;
    found_parts record;
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
            found_parts := cad._nearest_by_codes(
                asked, filters, (scan -> 'candidates')::int, scan, question.book, question.probes,
                case scan ->> 'kind' when 'tri' then question.similarities end
            );
            settings := settings || (scan - 'only' - 'but' || jsonb_build_object('stages', found_parts.stages));
        elsif scan ? 'kind' then
            found_parts := cad._nearest_by_index(asked, filters, most, scan);
            settings := settings || (scan - 'only' - 'but');
        else
            found_parts := cad._nearest_one_by_one(asked, filters, most, scan);
            settings := settings || (scan - 'only' - 'but');
        end if;
        parts := parts || found_parts.parts;
        distances := distances || found_parts.distances;
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
            order by
                coalesce(s.%2$I <=> ($1).%2$I, s.%3$I <=> ($1).%3$I, s.fused_vec <=> ($1).fused_vec) + 0.0,
                m.model_id
            limit $3
        )
    $query$, asked.vectors, modality || '_vec', case modality when 'brep' then 'shape_vec' else modality || '_vec' end)
    into found
    using asked, filters, most, cad._sees_partitions(asked.vectors);
    return found;
end
$$;

comment on function cad._nearest_exact(text, cad._query, jsonb, int) is
'The matching parts nearest to a question in one modality, every one compared as the rerank does it: other vectors '
'stand in where a part lacks its own, parts without any come last. Null for all.';

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
