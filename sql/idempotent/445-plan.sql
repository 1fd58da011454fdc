-- The plan of a search: how to find candidates by vector, decided for each partition from how many parts match, which
-- indexes stand and what cad.tune has measured.

create or replace function cad._matching_estimate(filters jsonb)
returns int
language plpgsql
volatile parallel restricted -- explain is a command, which a stable function may not run
set search_path from current
as $$
declare
    plan json;
    parts constant real := (select c.reltuples from pg_class as c where c.oid = 'cad.model'::regclass);
begin
    if parts >= 0 and cad._all_match(filters) then
        return least(parts, 2147483647);
    end if;
    execute 'explain (format json) select from cad._matching($1)' into plan using filters;
    return least((plan -> 0 -> 'Plan' -> 'Plan Rows')::text::bigint, 2147483647);
end
$$;

comment on function cad._matching_estimate(jsonb) is
'About how many parts filters let through, as the server estimates it from its statistics.';

create or replace function cad._partitions(vectors regclass)
returns table (partition regclass, families text[], parts bigint)
language plpgsql
stable parallel safe
rows 10
set search_path from current
as $$
begin
    return query
    select
        leaf.oid::regclass,
        array(
            select replace(f.quoted[1], '''''', '''')
            from regexp_matches(pg_get_expr(leaf.relpartbound, leaf.oid), '''((?:[^'']|'''')*)''', 'g') as f (quoted)
        ),
        case when leaf.reltuples >= 0 then leaf.reltuples else leaf.relpages end::bigint
    from pg_inherits as i
    inner join pg_class as leaf on leaf.oid = i.inhrelid
    where i.inhparent = vectors;
end
$$;

comment on function cad._partitions(regclass) is
'Partitions of a table of vectors, the families of each ({} for the default one), and about how many parts it has.';

create or replace function cad._default_scan_cost()
returns int
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    return 1000;
end
$$;

comment on function cad._default_scan_cost() is
'How many parts are compared one by one in the time of a scan of an index where nothing was tuned. Measured: '
'200 by HNSW, of 100,000.';

create or replace function cad._tuned_scans(vectors regclass)
returns table (
    partition text, kind text, dim int, setting int, setting_tenth int, setting_hundredth int,
    found real, reached boolean, p50_ms real, cost_parts int
)
language plpgsql
stable parallel safe
rows 10
set search_path from current
as $$
begin
    return query
    select
        c.vectors, c.kind, c.dim, c.setting, c.setting_tenth, c.setting_hundredth, least(c.recall, t.target_recall),
        c.recall >= t.target_recall and c.p95_ms <= coalesce(t.target_p95_ms, 'infinity'),
        c.p50_ms, c.cost_parts
    from cad.space as s
    inner join cad.tuning as t on t.space = s.name and t.in_force and t.encoder_version is not distinct from s.encoder_version
    inner join cad.tuned_scan as c on c.space = t.space and c.version = t.version and c.chosen
    where s.vectors = _tuned_scans.vectors;
end
$$;

comment on function cad._tuned_scans(regclass) is
'How the indexes of a table of vectors are to be scanned, as measured with the vectors that it holds now. found: the recall, '
'no more than was asked for.';

create or replace function cad._setting(kind text)
returns text
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
begin
    return case when kind in ('ivfflat', 'lsh', 'tri') then 'probes' else 'ef_search' end;
end
$$;

comment on function cad._setting(text) is
'What a scan of an index is set by: hnsw.ef_search, ivfflat.probes, or how many buckets of a hash table are looked into.';

create or replace function cad._default_setting(kind text, most int)
returns int
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    return case kind
        when 'ivfflat' then 20
        when 'lsh' then 8
        when 'tri' then 8
        else least(greatest(most, 100), 1000)
    end;
end
$$;

comment on function cad._default_setting(text, int) is
'hnsw.ef_search, ivfflat.probes or buckets to look into of a scan for so many parts where nothing was tuned.';

create or replace function cad._candidates(kind text, dim int, most int)
returns int
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    -- Of drawn parts so many had about 99 in 100 of the nearest, by the first of 512 dimensions or by signs.
    return case
        when kind in ('prefix', 'ivfflat') then greatest(case when dim < 128 then 100 else 50 end, most + most / 2)
        when kind = 'bit' then greatest(200, 3 * most)
        when kind = 'tri' then greatest(100, most)
        else most
    end;
end
$$;

comment on function cad._candidates(text, int, int) is
'How many parts a scan of an index fetches where so many are wanted: more where what is indexed tells less than the whole '
'vector, which then decides among them.';

create or replace function cad._to_fetch(kind text, dim int, most int, one_in double precision)
returns int
language plpgsql
immutable parallel safe
set search_path from current
as $$
declare
    candidates constant int := cad._candidates(kind, dim, most);
begin
    if one_in is null or kind = any (cad._code_kinds()) then
        return candidates;
    end if;
    -- The fewer match, the further apart they lie, and the less it takes to tell them apart; but enough must match.
    return least(1000000, ceil(greatest(candidates * greatest(1, one_in) ^ 0.8, (most + 3 * sqrt(most)) * one_in)));
end
$$;

comment on function cad._to_fetch(text, int, int, double precision) is
'How many parts a scan of an index fetches where so many are wanted and one in so many matches; null where all do.';

create or replace function cad._deeper(setting int, tenth int, hundredth int, one_in double precision)
returns double precision
language plpgsql
immutable parallel safe
set search_path from current
as $$
declare
    -- Where nothing was measured: twice as many, as it was with a million drawn parts.
    in_ten constant double precision := coalesce(tenth, 2 * setting);
    in_hundred constant double precision := coalesce(hundredth, 2 * in_ten);
    fewer constant double precision := log(greatest(1, one_in));
begin
    return case
        when fewer <= 1 then setting * (in_ten / setting) ^ fewer
        else in_ten * (in_hundred / in_ten) ^ (fewer - 1)
    end;
end
$$;

comment on function cad._deeper(int, int, int, double precision) is
'How many lists hold the nearest of the parts that match, where one in so many does (null: all), from how many do where all, '
'a tenth and a hundredth match.';

create or replace function cad._scan_cost(
    kind text, dim int, setting int, lists double precision, cost_parts int, most int, one_in double precision
)
returns double precision
language plpgsql
immutable parallel safe
set search_path from current
as $$
declare
    fetched constant double precision := cad._to_fetch(kind, dim, most, one_in);
begin
    return case
        when cad._setting(kind) = 'ef_search' then cost_parts * greatest(1, fetched / setting) -- a graph is walked on and on
        else cost_parts * lists / setting + fetched - cad._candidates(kind, dim, most)
    end;
end
$$;

comment on function cad._scan_cost(text, int, int, double precision, int, int, double precision) is
'What a scan of an index costs where so many parts are wanted and one in so many matches, which takes so many lists, in parts '
'compared one by one, of which a scan for ten costs so many where all match. To fetch one from a list costs about as much as to compare it.';

create or replace function cad._scans(vectors regclass, filters jsonb, wanted text, matching int, most int)
returns jsonb
language plpgsql
stable parallel safe
set search_path from current
set plan_cache_mode = force_generic_plan
as $$
declare
    is_filtered constant boolean := not cad._all_match(filters);
begin
    return (
        with every_partition as materialized (
            select p.* from cad._partitions(vectors) as p
        ),

        promoted as (
            select
                count(*) as among,
                array(select unnest(e.families) from every_partition as e) as families
            from every_partition
        ),

        partition as (
            select
                p.*,
                p.parts / nullif(sum(p.parts) over (), 0) as share,
                o.among,
                o.families as others
            from every_partition as p
            cross join promoted as o
            where
                not filters ? 'family'
                or p.families && cad._texts(filters -> 'family')
                or p.families = '{}' and not cad._texts(filters -> 'family') <@ o.families
        ),

        standing as (
            select
                x.partition,
                x.kind,
                x.dim,
                coalesce(t.setting, cad._default_setting(x.kind, most)) as setting,
                coalesce(t.cost_parts, cad._default_scan_cost()) as cost_parts,
                t.setting_tenth,
                t.setting_hundredth,
                row_number() over (
                    partition by x.partition
                    order by
                        t.found desc nulls last,
                        t.reached desc,
                        t.p50_ms,
                        cad._preference(x.kind),
                        x.dim
                ) as preference
            from cad._ways(vectors) as x
            left join cad._tuned_scans(vectors) as t
                on t.partition = x.partition::text and t.kind = x.kind and t.dim = x.dim
            where
                x.kind = wanted
                or wanted is null and (t.kind is not null or x.kind <> all (cad._code_kinds())) -- unless measured
        )

        select jsonb_agg(
            jsonb_strip_nulls(jsonb_build_object(
                'partition', p.partition::text,
                'matching', round((matching * coalesce(p.share, 1))::numeric),
                'kind', s.kind,
                'dim', s.dim,
                'candidates', case when s.kind is not null then cad._to_fetch(s.kind, s.dim, most, o.one_in) end,
                'ef_search', case when cad._setting(s.kind) = 'ef_search' then s.setting end,
                'probes', case
                    when s.kind = 'ivfflat' then least(32768, ceil(s.lists))
                    when cad._setting(s.kind) = 'probes' then s.setting
                end,
                'only', case when p.among > 1 and p.families <> '{}' then p.families end,
                'but', case when p.among > 1 and p.families = '{}' then p.others end
            ))
            order by p.partition::text
        )
        from partition as p
        cross join lateral (
            select case when is_filtered then p.parts / greatest(1, matching * coalesce(p.share, 1)) end as one_in
        ) as o
        left join lateral (
            select i.*, cad._deeper(i.setting, i.setting_tenth, i.setting_hundredth, o.one_in) as lists
            from standing as i
            where i.partition = p.partition and i.preference = 1
        ) as s
            on wanted is not null
            or matching * coalesce(p.share, 1)
            > cad._scan_cost(s.kind, s.dim, s.setting, s.lists, s.cost_parts, most, o.one_in)
    );
end
$$;

comment on function cad._scans(regclass, jsonb, text, int, int) is
'How each partition that may hold matching parts is to be scanned: by an index, of the wanted kind if one is, or one by '
'one where that costs less. An object without kind: one by one.';

create or replace function cad._check_strategy(vectors regclass, strategy text, kind text)
returns void
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    if kind = any (cad._code_kinds()) and (cad._serving_codebook(vectors)).version is null then
        raise exception 'strategy % needs codes of the vectors that % has now', strategy, vectors
            using errcode = '55000', hint = 'Run call cad.train_codes(''<space>''); or leave the strategy to auto.';
    end if;
    kind := case kind when 'tri' then 'hnsw' else kind end; -- which it scans, too
    if kind = 'lsh' or exists (select from cad._usable_indexes(vectors) as u where u.kind = _check_strategy.kind) then
        return;
    end if;
    raise exception 'strategy % needs an index of kind % that is valid on every partition of %', strategy, kind, vectors
        using errcode = '55000',
            hint = format('Run call cad.add_index(''<space>'', %L); or leave the strategy to auto.', kind);
end
$$;

comment on function cad._check_strategy(regclass, text, text) is
'Refuses (55000) a strategy whose codes there are not, or whose index does not stand on every partition.';

create or replace function cad._most(k int, weights jsonb, strategy text)
returns int
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    if (select sum(w.value::double precision) from jsonb_each(weights - 'fused') as w) = 0 then
        return k; -- nothing will change their order
    end if;
    return case when strategy = 'exact' then null else greatest(200, 2 * k) end;
end
$$;

comment on function cad._most(int, jsonb, text) is
'How many candidates by vector a search for so many hits looks at; null for all that match.';

create or replace function cad._plan(
    asked cad._query, most int, filters jsonb, options jsonb, with_resident boolean,
    out strategy text, out reason text, out matching int, out scans jsonb
)
language plpgsql
stable parallel restricted
set search_path from current
as $$
declare
    indexed_most constant int := 2000;
    wanted constant text := case options ->> 'strategy' when 'iterative' then 'hnsw' else options ->> 'strategy' end;
    kinds text[];
begin
    if asked.fused_vec is null then
        strategy := 'lexical';
        reason := 'no encoder';
        return;
    end if;
    matching := cad._matching_estimate(filters);
    strategy := 'exact';
    if wanted = 'exact' then
        reason := 'asked for';
    elsif wanted = 'resident' then
        perform cad._check_resident(asked.vectors);
        strategy := wanted;
        reason := 'asked for';
    elsif wanted <> 'auto' then
        perform cad._check_strategy(asked.vectors, options ->> 'strategy', wanted);
        strategy := options ->> 'strategy';
        reason := 'asked for';
        scans := cad._scans(asked.vectors, filters, wanted, matching, most);
    elsif coalesce(options ->> 'against', 'fused') <> 'fused' then
        reason := 'the indexes are on the fused vectors';
    elsif most > indexed_most then
        reason := 'many hits wanted';
    elsif with_resident and cad._resident_wins(asked.vectors, matching, most) then
        strategy := 'resident';
        reason := 'measured to be quickest';
    else
        scans := cad._scans(asked.vectors, filters, null, matching, most);
        kinds := array(select distinct coalesce(s.value ->> 'kind', 'exact') from jsonb_array_elements(scans) as s);
        if kinds <@ array['exact'] then -- also where no partition may hold what is wanted
            scans := null;
            reason := case when exists (
                select from cad._standing_indexes(asked.vectors) as x where x.valid
            ) then 'few parts match' else 'no index is valid' end;
        else
            strategy := case when cardinality(kinds) > 1 then 'mixed' when kinds[1] = 'hnsw' then 'iterative' else kinds[1] end;
            reason := 'many parts match';
        end if;
    end if;
end
$$;

comment on function cad._plan(cad._query, int, jsonb, jsonb, boolean) is
'How to find so many candidates: lexical, exact, resident, or by which scans of indexes, and why; about how many parts match. '
'with_resident: whether the encoder service may be asked without anybody''s wish.';
