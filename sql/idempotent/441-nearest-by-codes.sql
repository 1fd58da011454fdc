-- Nearest neighbours by codes. lsh: whoever is in one of the probed buckets is compared with the question. tri: the
-- buckets give many, an HNSW scan that is cut short a few; product codes tell which of the many are worth comparing,
-- the question itself being whole (asymmetric distances). Both compare whole vectors in the end, in the snapshot of the
-- search: a part that goes or changes meanwhile is as any search sees it.

create or replace function cad._serving_codebook(vectors regclass)
returns cad.codebook
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    serving cad.codebook;
begin
    select b.* into serving
    from cad.codebook as b
    inner join cad.space as s on s.name = b.space
    where s.vectors = _serving_codebook.vectors and b.state = 'serving'
        and b.encoder_version is not distinct from s.encoder_version;
    return serving;
end
$$;

comment on function cad._serving_codebook(regclass) is
'What the codes of a table of vectors were made by; null where it has none of the vectors that it holds now.';

create or replace function cad._code_kinds()
returns text[]
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    return array['lsh', 'tri'];
end
$$;

comment on function cad._code_kinds() is 'The ways to find parts by their codes.';

create or replace function cad._ways(vectors regclass)
returns table (partition regclass, kind text, dim integer, parameters text[])
language plpgsql
stable parallel safe
rows 10
set search_path from current
as $$
declare
    book constant cad.codebook := cad._serving_codebook(vectors);
begin
    return query
    with standing as materialized (
        select x.partition, x.kind, x.dim, x.parameters
        from cad._standing_indexes(_ways.vectors) as x
        where x.valid
    )

    select x.partition, x.kind, x.dim, x.parameters from standing as x

    union all

    select i.inhrelid::regclass, k.kind, s.dim, null
    from cad.space as s
    inner join pg_inherits as i on i.inhparent = s.vectors
    cross join unnest(cad._code_kinds()) as k (kind)
    where
        s.name = book.space
        and (
            k.kind <> 'tri'
            or exists (select from standing as x where x.partition = i.inhrelid and x.kind = 'hnsw')
        );
end
$$;

comment on function cad._ways(regclass) is
'The ways to find near parts in each partition without comparing all: valid indexes, and codes where the space has them.';

create or replace function cad._similarities(book cad.codebook, vec halfvec)
returns real[]
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    numbers real[] := l2_normalize(vec)::vector::real[];
    directions halfvec[];
begin
    numbers := numbers || array_fill(0::real, array[(book.subvectors - cardinality(numbers) % book.subvectors) % book.subvectors]);
    directions := array(
        select array_agg(n.number order by n.place)::halfvec
        from unnest(numbers) with ordinality as n (number, place)
        group by (n.place - 1) % book.subvectors
        order by (n.place - 1) % book.subvectors
    );
    return array(
        select -(c.centroid <#> directions[c.subvector + 1])
        from cad.centroid as c
        where c.version = book.version
        order by c.subvector, c.number
    );
end
$$;

comment on function cad._similarities(cad.codebook, halfvec) is
'Inner product of a question with every centroid, subvector after subvector, 256 each. Those that a code names add up to '
'about the cosine.';

create or replace function cad._ask_codes(
    vectors regclass, vec halfvec, kinds text[], out book cad.codebook, out probes int[], out similarities real[]
)
language plpgsql
stable parallel safe
set search_path from current
set enable_sort = on -- what reads an index does without
set enable_seqscan = on
set enable_hashjoin = on
set enable_mergejoin = on
as $$
begin
    book := cad._serving_codebook(vectors);
    probes := cad._probes(book.version, vec);
    if 'tri' = any(kinds) then
        similarities := cad._similarities(book, vec);
    end if;
end
$$;

comment on function cad._ask_codes(regclass, halfvec, text[]) is
'What is asked of the codes of a table of vectors for a question: buckets and, for tri, similarities to centroids.';

create or replace function cad._similarity(subvectors int)
returns text
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
begin
    return (
        select string_agg(format('$6[%s + get_byte(c.code, %s)]', 256 * s.number + 1, s.number), ' + ' order by s.number)
        from generate_series(0, subvectors - 1) as s (number)
    );
end
$$;

comment on function cad._similarity(int) is 'The sum of what the bytes of a code c stand for in the table $6.';

create or replace function cad._nearest_by_codes(
    asked cad._query, filters jsonb, most int, scan jsonb, book cad.codebook, probes int[], similarities real[],
    out parts uuid[], out distances double precision[], out stages jsonb
)
language plpgsql
stable parallel restricted
set search_path from current
as $$
-- The text put into the query is that of cad._similarity and is_wanted:
-- @plpgsql_check_options: security_warnings = false
declare
    scanned_most constant int := 40;
    is_wanted constant text := case -- as in cad._nearest_one_by_one
        when cad._all_match(filters) then 'true'
        else 'exists (select from cad._matching($3) as m where m.model_id = c.model_id)'
    end;
    started timestamptz := clock_timestamp();
    candidates int;
    kept uuid[];
    families text[];
    scanned uuid[] := array[]::uuid[];
begin
    execute format($query$
        with candidate as materialized (
            select c.model_id, c.family, %s as similarity
            from cad.part_code as c
            where c.buckets && $2 and c.version + 0 = $1 -- by bucket, not by key
                and (not $3 ? 'family' or c.family = any (cad._texts($3 -> 'family')))
                and (not $4 ? 'only' or c.family = any (cad._texts($4 -> 'only')))
                and (not $4 ? 'but' or c.family <> all (cad._texts($4 -> 'but')))
                and %s
        ),

        kept as (
            select c.model_id, c.family from candidate as c where c.similarity is null -- no code yet, or none wanted
            union all
            (
                select c.model_id, c.family
                from candidate as c
                where c.similarity is not null
                order by c.similarity desc
                limit $5
            )
        )

        select (select count(*) from candidate), array_agg(k.model_id), array_agg(k.family) from kept as k
    $query$, case when similarities is null then '$6[1]' else cad._similarity(book.subvectors) end, is_wanted)
    into candidates, kept, families
    using book.version, probes[:(scan -> 'probes')::int * book.tables], filters, scan, most, similarities;
    stages := jsonb_build_array(cad._stage('buckets', started, candidates, jsonb_build_object('kept', cardinality(kept))));
    if scan ->> 'kind' = 'tri' then
        started := clock_timestamp();
        scanned := (cad._nearest_by_plan(asked, filters, scanned_most, 'hnsw', jsonb_build_array(
            scan - 'candidates' - 'probes' || jsonb_build_object('kind', 'hnsw', 'ef_search', scanned_most)
        ))).nearest;
        stages := stages || cad._stage('hnsw', started, cardinality(scanned), '{}');
    end if;
    started := clock_timestamp();
    execute format($query$
        select array_agg(c.model_id), array_agg(c.distance)
        from (
            select s.model_id, s.fused_vec <=> $1 as distance
            from unnest($2, $3) as k (model_id, family)
            inner join %1$s as s
                on s.model_id = k.model_id and case when $7 then s.family else s.family || '' end = k.family
            where s.fused_vec is not null
            union
            select s.model_id, s.fused_vec <=> $1
            from %1$s as s
            where s.model_id = any ($4)
                and (not $5 ? 'only' or s.family = any (cad._texts($5 -> 'only')))
                and (not $5 ? 'but' or s.family <> all (cad._texts($5 -> 'but')))
            order by distance
            limit $6
        ) as c
    $query$, asked.vectors)
    into parts, distances
    using asked.fused_vec, kept, families, scanned, scan, most, cad._sees_partitions(asked.vectors);
    stages := stages || cad._stage(
        'compare', started, coalesce(cardinality(kept), 0) + cardinality(scanned), jsonb_build_object('kept', cardinality(parts))
    );
end
$$;

comment on function cad._nearest_by_codes(cad._query, jsonb, int, jsonb, cad.codebook, int[], real[]) is
'The matching parts of a partition that the codes find near to a question, with their distances as whole vectors.';
