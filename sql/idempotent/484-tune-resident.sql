-- How quick resident vectors are, measured beside the indexes: one scan of all partitions.

create or replace function cad._tune_resident(
    tuned cad.tuning, vectors regclass, questions halfvec[], compare_ms double precision
)
returns void
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    most constant int := 10;
    held record;
    asked cad._query;
    truth uuid[];
    started timestamptz;
    proposed record;
    hits int[];
    wanted int[];
    times_ms double precision[];
begin
    select r.parts, s.dim into held
    from cad.resident as r
    inner join cad.space as s on s.name = r.space and s.vectors = r.vectors
    where r.vectors = _tune_resident.vectors and r.loaded_at is not null;
    if not found then
        return;
    end if;
    asked.vectors := vectors;
    foreach asked.fused_vec in array questions loop
        started := clock_timestamp();
        proposed := cad._nearest_resident(vectors, array[asked.fused_vec], '{}', most, 2147483647);
        times_ms := times_ms || extract(epoch from clock_timestamp() - started) * 1000;
        if proposed.error is not null then
            raise warning 'resident vectors were not measured: %', proposed.error ->> 'message'
                using hint = proposed.error ->> 'hint';
            return;
        end if;
        truth := cad._nearest_exact('fused', asked, '{}', most);
        wanted := wanted || cardinality(truth);
        hits := hits || cad._hits(vectors, asked.fused_vec, proposed.nearest, truth);
    end loop;
    insert into cad.tuned_scan (
        space, version, vectors, kind, dim, setting, chosen, recall, recall_low, p50_ms, p95_ms, parts, cost_parts
    )
    select
        tuned.space, tuned.version, vectors::text, 'resident', held.dim, 0, true,
        r.share, r.low, t.p50_ms, percentile_cont(0.95) within group (order by u.elapsed_ms), held.parts,
        least(round(t.p50_ms / compare_ms), 2147483647)
    from unnest(times_ms) as u (elapsed_ms)
    cross join cad._recall(hits, wanted) as r
    cross join (
        select percentile_cont(0.5) within group (order by m.elapsed_ms) as p50_ms from unnest(times_ms) as m (elapsed_ms)
    ) as t
    group by t.p50_ms, r.share, r.low;
end
$$;

comment on function cad._tune_resident(cad.tuning, regclass, halfvec[], double precision) is
'Measures the resident vectors of a space, where there are any, with the same questions as its indexes.';
