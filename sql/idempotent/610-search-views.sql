-- Views for whoever watches over searches: how many there are and how long they take, how much of the truth they find,
-- and what the cache does.

create or replace view cad.search_log_hourly
with (security_invoker = true) as
select
    date_trunc('hour', l.asked_at) as hour,
    l.space,
    l.query_kind,
    l.strategy,
    count(*) as searches,
    count(*) filter (where l.hits < l.k) as fewer_than_wanted,
    percentile_cont(0.5) within group (order by l.elapsed_ms) as p50_ms,
    percentile_cont(0.95) within group (order by l.elapsed_ms) as p95_ms,
    percentile_cont(0.5) within group (order by l.vector_ms) as vector_p50_ms,
    percentile_cont(0.95) within group (order by l.vector_ms) as vector_p95_ms
from cad.search_log as l
group by date_trunc('hour', l.asked_at), l.space, l.query_kind, l.strategy;

comment on view cad.search_log_hourly is 'The logged searches, a sample of all, by hour, space, kind of question and strategy.';
comment on column cad.search_log_hourly.hour is 'Hour in which they ended.';
comment on column cad.search_log_hourly.space is 'Embedding space.';
comment on column cad.search_log_hourly.query_kind is 'What was asked with: text, image, shape or multi.';
comment on column cad.search_log_hourly.strategy is 'How candidates were found by vector.';
comment on column cad.search_log_hourly.searches is 'How many were logged; pgcad.log_share says what share of all that is.';
comment on column cad.search_log_hourly.fewer_than_wanted is 'How many returned fewer hits than wanted: fewer parts matched.';
comment on column cad.search_log_hourly.p50_ms is 'Median time of a search in ms.';
comment on column cad.search_log_hourly.p95_ms is 'Time that 95 of 100 searches stay below, in ms.';
comment on column cad.search_log_hourly.vector_p50_ms is 'Median time to find candidates by vector in ms.';
comment on column cad.search_log_hourly.vector_p95_ms is 'Time that 95 of 100 stay below in that, in ms.';

create or replace view cad.recall_hourly
with (security_invoker = true) as
select
    h.hour,
    h.space,
    h.partition,
    h.strategy,
    h.searches,
    (h.recall).share as recall,
    (h.recall).low as recall_low,
    (h.recall).high as recall_high
from (
    select
        date_trunc('hour', l.asked_at) as hour,
        l.space,
        c.vectors as partition,
        c.strategy,
        count(*) as searches,
        cad._recall(array_agg(c.found), array_agg(c.wanted)) as recall
    from cad.recall_check as c
    inner join cad.search_log as l on c.search_id = l.search_id
    group by date_trunc('hour', l.asked_at), l.space, c.vectors, c.strategy
) as h;

comment on view cad.recall_hourly is
'Recall of the ten nearest parts of the searches that cad.check_recall has compared with exact search, by hour, space, '
'partition and strategy.';
comment on column cad.recall_hourly.hour is 'Hour in which they were asked.';
comment on column cad.recall_hourly.space is 'Embedding space.';
comment on column cad.recall_hourly.partition is 'Partition that the nearest parts lie in.';
comment on column cad.recall_hourly.strategy is 'How it was scanned: the kind of index, or exact.';
comment on column cad.recall_hourly.searches is 'How many searches were compared.';
comment on column cad.recall_hourly.recall is 'Share of the nearest parts that they found.';
comment on column cad.recall_hourly.recall_low is 'Lower end of the 95 % interval of that share: what holds for other searches, too.';
comment on column cad.recall_hourly.recall_high is 'Upper end of it.';

create or replace view cad.cache_health
with (security_invoker = true) as
select
    s.n_live_tup as entries,
    pg_total_relation_size(c.oid) as size_bytes,
    s.idx_scan - s.n_tup_ins - s.n_tup_upd as lookups, -- storing looks as well
    s.idx_tup_fetch - s.n_tup_upd as found,
    s.n_tup_ins + s.n_tup_upd as stored
from pg_class as c
inner join pg_stat_user_tables as s on c.oid = s.relid
where c.oid = 'cad.cached_result'::regclass;

comment on view cad.cache_health is 'The cache of search results, as the server counts it; since its statistics were reset.';
comment on column cad.cache_health.entries is 'About how many results are kept.';
comment on column cad.cache_health.size_bytes is 'Size in bytes.';
comment on column cad.cache_health.lookups is 'Searches that looked for a kept result.';
comment on column cad.cache_health.found is 'Of these, how many found one, whether or not it still held.';
comment on column cad.cache_health.stored is 'Results that were put in: searches that had to be made.';
