-- The plan of a search: how to find candidates by vector, decided from how many parts match and which indexes stand.

create or replace function cad._strategy_index(vectors regclass, strategy text, out kind text, out dim int)
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    wanted constant text := case strategy when 'iterative' then 'hnsw' else strategy end;
begin
    select u.kind, u.dim into kind, dim
    from cad._usable_indexes(vectors) as u
    where u.kind = wanted
    order by u.dim
    limit 1;
    if not found then
        raise exception 'strategy % needs an index of kind % that is valid on every partition of %', strategy, wanted, vectors
            using errcode = '55000',
                hint = format('Run call cad.add_index(''<space>'', %L); or leave the strategy to auto.', wanted);
    end if;
end
$$;

comment on function cad._strategy_index(regclass, text) is
'The index that a strategy reads; refuses (55000) a strategy whose index does not stand.';

create or replace function cad._plan(
    asked cad._query, k int, filters jsonb, options jsonb,
    out strategy text, out reason text, out matching int, out most int, out kind text, out dim int
)
language plpgsql
stable parallel restricted
set search_path from current
set plan_cache_mode = force_custom_plan
as $$
declare
    -- Measured: comparing 5,000 parts one by one takes about as long as an HNSW scan for 200.
    exact_matching constant int := 5000;
    indexed_most constant int := 2000;
    preferred constant text[] := array['hnsw', 'prefix', 'bit', 'ivfflat'];
    counted int;
begin
    most := greatest(200, 2 * k);
    counted := greatest(exact_matching + 1, most);
    -- Without a filter and policies the table's own estimate tells that there are more than would be counted.
    if filters = '{}' and not row_security_active('cad.model')
        and (select c.reltuples > counted from pg_class as c where c.oid = 'cad.model'::regclass) then
        matching := counted;
    else
        select count(*) into matching from (select from cad._matching(filters) limit counted) as m;
    end if;
    if asked.fused_vec is null then
        strategy := 'lexical';
        reason := 'no encoder';
        return;
    elsif options ->> 'strategy' <> 'auto' then
        strategy := options ->> 'strategy';
        reason := 'asked for';
        if strategy <> 'exact' then
            select i.kind, i.dim into kind, dim from cad._strategy_index(asked.vectors, strategy) as i;
        end if;
        return;
    end if;
    strategy := 'exact';
    if matching <= exact_matching then
        reason := 'few parts match';
    elsif coalesce(options ->> 'against', 'fused') <> 'fused' then
        reason := 'the indexes are on the fused vectors';
    elsif most > indexed_most then
        reason := 'many hits wanted';
    else
        select u.kind, u.dim into kind, dim
        from cad._usable_indexes(asked.vectors) as u
        order by array_position(preferred, u.kind), u.dim
        limit 1;
        if kind is null then
            reason := 'no index is valid on every partition';
        else
            strategy := case kind when 'hnsw' then 'iterative' else kind end;
            reason := 'many parts match';
        end if;
    end if;
end
$$;

comment on function cad._plan(cad._query, int, jsonb, jsonb) is
'How to find candidates: lexical, exact, or by which index, and why; how many parts match (counted up to a limit).';
