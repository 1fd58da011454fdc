-- How to scan the indexes of a space, from measurements on its own vectors. A run is one transaction: whoever cancels
-- it leaves everything as it was.

create or replace function cad._tuning_questions(space text, out questions halfvec[], out source text)
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    enough constant int := 100; -- of the log: what is really asked tells more than more that is not
    many constant int := 400; -- tell a recall of 0.98 to about 0.005
    compared constant bigint := 200000000; -- parts with questions, which is what takes the time: a few minutes
    searched cad.space;
    parts bigint;
    most int;
begin
    select s.* into searched from cad.space as s where s.name = _tuning_questions.space;
    select sum(p.parts) into parts from cad._partitions(searched.vectors) as p;
    most := greatest(enough, least(many, parts / 25, compared / nullif(parts, 0)));
    source := 'log';
    select array_agg(q.question) into questions
    from (
        select q.question
        from cad.search_question as q
        inner join cad.search_log as l on l.search_id = q.search_id
        where l.space = searched.name and q.encoder_version is not distinct from searched.encoder_version and l2_norm(q.question) > 0
        order by q.search_id desc
        limit most
    ) as q;
    if cardinality(questions) >= enough then
        return;
    end if;
    source := 'parts';
    questions := cad._sampled_questions(searched.vectors, parts, most);
end
$$;

comment on function cad._tuning_questions(text) is
'Questions to measure a space with, a hundred to four hundred: the last that were logged, or where they are too few, vectors '
'of parts and of what is said of them.';

create or replace function cad._compare_ms(vectors regclass, questions halfvec[], parts int)
returns double precision
language plpgsql
volatile parallel unsafe
set search_path from current
set jit = off
as $$
declare
    asked constant int := cardinality(questions);
    compared uuid[];
    families text[];
    each int; -- parts for a question, others for each: what was just compared lies in the caches of the processor
    place int;
    started timestamptz;
    times_ms double precision[];
begin
    select array_agg(m.model_id), array_agg(m.family) into compared, families
    from (select model_id, family from cad.model order by random() limit asked * parts) as m;
    each := least(parts, cardinality(compared));
    for run in 1..2 loop -- the first brings them into memory
        times_ms := null;
        for number in 1..asked loop
            place := (number - 1) * each % (cardinality(compared) - each + 1);
            started := clock_timestamp();
            execute format($query$
                select from unnest($2, $3) as m (model_id, family)
                left join %s as s on s.model_id = m.model_id and s.family = m.family
                order by (s.fused_vec <=> $1) + 0.0
                limit 200
            $query$, vectors)
            using questions[number], compared[place + 1:place + each], families[place + 1:place + each];
            times_ms := times_ms || extract(epoch from clock_timestamp() - started) * 1000;
        end loop;
    end loop;
    return (select percentile_cont(0.5) within group (order by t) from unnest(times_ms) as t) / each;
end
$$;

comment on function cad._compare_ms(regclass, halfvec[], int) is
'Milliseconds that it takes to compare one part with a question, found by its key, as a search does that an index tells '
'which parts match.';

create or replace function cad._ladder(kind text, parameters text[])
returns setof int
language sql
immutable parallel safe
rows 8
set search_path from current
as $$
    select s.setting
    from unnest(array[20, 40, 80, 140, 240, 400, 640, 1000]) as s (setting)
    where cad._setting(kind) = 'ef_search'

    union

    select s.setting
    from unnest(array[1, 2, 4, 8, 16, 32]) as s (setting)
    where kind = any (cad._code_kinds())

    union

    select least(s.setting, substr(p.parameter, 7)::int)
    from unnest(array[2, 3, 4, 5, 6, 7, 9, 11, 14, 17, 20, 25, 30, 40, 50, 70, 100]) as s (setting)
    cross join unnest(parameters) as p (parameter)
    where kind = 'ivfflat' and p.parameter like 'lists=%'
$$;

comment on function cad._ladder(text, text[]) is 'The settings of an index that are measured.';

create or replace function cad._nearest_of_each(nearest uuid[], one_in int, most int)
returns uuid[]
language sql
immutable parallel safe
set search_path from current
as $$
    select array_agg(n.part)
    from (
        select u.part, row_number() over (partition by (uuid_hash(u.part) & 2147483647) % one_in order by u.place) as place
        from unnest(nearest) with ordinality as u (part, place)
    ) as n
    where n.place <= most
$$;

comment on function cad._nearest_of_each(uuid[], int, int) is
'Of parts, nearest first, so many that each of some filters would find: filters that let one in so many through, and together '
'every part.';

create or replace function cad._measured_scans(vectors regclass, partition regclass, questions halfvec[])
returns table (kind text, dim int, setting int, one_in int, hits int, wanted int, elapsed_ms double precision)
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    most constant int := 10; -- what is found so, a scan for more finds too
    fewest_match constant int := 100; -- one in so many
    parts constant bigint := cad._parts_of(partition);
    asked cad._query;
    place jsonb; -- of the partition: one by one, which is the truth
    scan jsonb;
    truth uuid[];
    matching uuid[];
    started timestamptz;
    nearest uuid[];
begin
    select s.value - 'matching' into strict place
    from jsonb_array_elements(cad._scans(vectors, '{}', 'exact', 0, most)) as s
    where s.value ->> 'partition' = partition::text;
    asked.vectors := vectors;
    foreach asked.fused_vec in array questions loop
        -- Half as many again: by chance, more of them match one filter than another.
        truth := (cad._nearest_by_plan(asked, '{}', most * fewest_match * 3 / 2, 'exact', jsonb_build_array(place))).nearest;
        foreach one_in in array array[1, 10, fewest_match] loop
            matching := cad._nearest_of_each(truth, one_in, most);
            wanted := cardinality(matching);
            for kind, dim, setting in
                select x.kind, x.dim, l.setting
                from cad._ways(vectors) as x
                cross join cad._ladder(x.kind, x.parameters) as l (setting)
                where
                    x.partition = _measured_scans.partition
                    and (
                        one_in = 1
                        -- or to look at each that matches would be quicker
                        or x.kind = 'ivfflat' and parts / one_in > cad._to_fetch(x.kind, x.dim, most, one_in)
                    )
                order by random() -- what slows the machine down for a while slows none of them alone
            loop
                scan := place || jsonb_build_object(
                    'kind', kind, 'dim', dim, 'candidates', cad._to_fetch(kind, dim, most, nullif(one_in, 1)),
                    cad._setting(kind), setting
                );
                started := clock_timestamp();
                nearest := (cad._nearest_by_plan(
                    asked, '{}', case one_in when 1 then most else (scan -> 'candidates')::int end, kind,
                    jsonb_build_array(scan)
                )).nearest;
                elapsed_ms := extract(epoch from clock_timestamp() - started) * 1000;
                hits := case
                    when one_in = 1 then cad._hits(vectors, asked.fused_vec, nearest, matching)
                    else (select count(*) from unnest(matching) as m (part) where m.part in (select unnest(nearest)))
                end;
                return next;
            end loop;
        end loop;
    end loop;
end
$$;

comment on function cad._measured_scans(regclass, regclass, halfvec[]) is
'Scans every index of a partition with every setting for every question: how many of the ten nearest were found, and the '
'time. Where lists are scanned, also how many of the ten nearest that a filter would let through, one part in so many.';

create or replace function cad._measured_recall(vectors regclass, partition regclass, questions halfvec[])
returns table (
    kind text, dim int, setting int, one_in int, recall double precision, recall_low double precision,
    sure double precision, p50_ms double precision, p95_ms double precision
)
language sql
volatile parallel unsafe
set search_path from current
as $$
    select
        m.kind,
        m.dim,
        m.setting,
        m.one_in,
        coalesce((r.recall).share, 1) as recall, -- where there is nothing to find
        coalesce((r.recall).low, 0) as recall_low,
        coalesce(((r.recall).share + (r.recall).low) / 2, 1) as sure,
        m.p50_ms,
        m.p95_ms
    from (
        select
            s.kind,
            s.dim,
            s.setting,
            s.one_in,
            array_agg(s.hits) as hits,
            array_agg(s.wanted) as wanted,
            percentile_cont(0.5) within group (order by s.elapsed_ms) as p50_ms,
            percentile_cont(0.95) within group (order by s.elapsed_ms) as p95_ms
        from cad._measured_scans(vectors, partition, questions) as s
        group by s.kind, s.dim, s.setting, s.one_in
    ) as m
    cross join lateral (select cad._recall(m.hits, m.wanted) as recall) as r
$$;

comment on function cad._measured_recall(regclass, regclass, halfvec[]) is
'Recall and time of every index of a partition with every setting, without a filter and with those that let few through. '
'sure: half-way down to the low end of the interval, which is not by luck.';

create or replace function cad._tune_partition(
    tuned cad.tuning, vectors regclass, partition regclass, questions halfvec[], compare_ms double precision
)
returns void
language sql
volatile parallel unsafe
set search_path from current
as $$
    with told as materialized ( -- measured once
        select m.* from cad._measured_recall(vectors, _tune_partition.partition, questions) as m
    ),

    ranked as (
        select
            t.*,
            row_number() over (
                partition by t.kind, t.dim
                order by
                    j.rank,
                    case when j.rank < 3 then t.p50_ms end,
                    case when j.rank = 3 then t.recall end desc,
                    t.p95_ms
            ) as place
        from told as t
        cross join lateral (
            select case
                when t.p95_ms > tuned.target_p95_ms then 4
                when t.recall < tuned.target_recall then 3
                when t.sure < tuned.target_recall then 2
                else 1
            end as rank
        ) as j
        where t.one_in = 1
    ),

    filtered as ( -- the least that is enough, or the most that was measured
        select
            r.kind,
            r.dim,
            t.one_in,
            greatest(
                r.setting,
                coalesce(min(t.setting) filter (where t.sure >= least(tuned.target_recall, r.sure)), max(t.setting))
            ) as setting
        from ranked as r
        inner join told as t on t.kind = r.kind and t.dim = r.dim and t.one_in > 1
        where r.place = 1
        group by r.kind, r.dim, r.setting, t.one_in
    )

    insert into cad.tuned_scan (
        space, version, vectors, kind, dim, setting, chosen, recall, recall_low, recall_tenth, recall_hundredth,
        setting_tenth, setting_hundredth, p50_ms, p95_ms, parts, cost_parts
    )
    select
        tuned.space, tuned.version, _tune_partition.partition::text, r.kind, r.dim, r.setting, r.place = 1,
        r.recall, r.recall_low, in_ten.recall, in_hundred.recall,
        case when r.place = 1 then for_ten.setting end, case when r.place = 1 then for_hundred.setting end,
        r.p50_ms, r.p95_ms, cad._parts_of(_tune_partition.partition), least(round(r.p50_ms / compare_ms), 2147483647)
    from ranked as r
    left join told as in_ten
        on in_ten.kind = r.kind and in_ten.dim = r.dim and in_ten.setting = r.setting and in_ten.one_in = 10
    left join told as in_hundred
        on in_hundred.kind = r.kind and in_hundred.dim = r.dim and in_hundred.setting = r.setting and in_hundred.one_in = 100
    left join filtered as for_ten on for_ten.kind = r.kind and for_ten.dim = r.dim and for_ten.one_in = 10
    left join filtered as for_hundred
        on for_hundred.kind = r.kind and for_hundred.dim = r.dim and for_hundred.one_in = 100
$$;

comment on function cad._tune_partition(cad.tuning, regclass, regclass, halfvec[], double precision) is
'Measures the indexes of a partition and chooses a setting for each: the fastest that reaches the recall within the time, and '
'not by luck: half-way down to the low end of its interval it does, too; else the fastest that reaches it at all; else the best '
'recall within the time; else the fastest. And for lists, how many more of them it takes where few parts match.';

create or replace function cad._begin_tuning(space text, target_recall real, target_p95_ms real)
returns cad.tuning
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    begun cad.tuning;
begin
    perform cad._check_space(space);
    if target_recall is null or not target_recall between 0.5 and 1 then
        raise exception 'target_recall is %, which is not between 0.5 and 1', coalesce(target_recall::text, 'null')
            using errcode = '22023', hint = 'Give a share such as 0.98.';
    elsif not target_p95_ms > 0 then
        raise exception 'p95_ms is %', target_p95_ms
            using errcode = '22023', hint = 'Give milliseconds above 0, or leave it out.';
    end if;
    perform cad._refuse_while_reembedded(space);
    perform pg_advisory_xact_lock(hashtextextended('pgcad tune ' || space, 0)); -- two at once would slow each other down
    select
        s.name, coalesce(max(t.version), 0) + 1, max(t.version) filter (where t.in_force), s.encoder_version,
        _begin_tuning.target_recall, _begin_tuning.target_p95_ms
    into begun.space, begun.version, begun.before, begun.encoder_version, begun.target_recall, begun.target_p95_ms
    from cad.space as s
    left join cad.tuning as t on t.space = s.name
    where s.name = _begin_tuning.space
    group by s.name;
    return begun;
end
$$;

comment on function cad._begin_tuning(text, real, real) is 'The next version of the tuning of a space, its targets checked (22023).';

create or replace procedure cad.tune(space text, target_recall real default 0.98, p95_ms real default null)
language plpgsql
security definer
set search_path from current
as $$
declare
    fewest constant int := 20;
    tuned cad.tuning := cad._begin_tuning(space, target_recall, p95_ms);
    asked record := cad._tuning_questions(space);
    vectors regclass;
    compare_ms double precision;
    missed text;
begin
    if coalesce(cardinality(asked.questions), 0) < fewest then
        raise exception 'space % has only % vectors to ask with', space, coalesce(cardinality(asked.questions), 0)
            using errcode = '55000', hint = format('Load parts first: fewer than %s tell nothing.', fewest);
    end if;
    select s.vectors into vectors from cad.space as s where s.name = tune.space;
    compare_ms := cad._compare_ms(vectors, asked.questions[:20], 2000);
    insert into cad.tuning (
        space, version, in_force, before, encoder_version, target_recall, target_p95_ms, questions, question_source
    )
    values (
        space, tuned.version, false, tuned.before, tuned.encoder_version, target_recall, p95_ms, cardinality(asked.questions), asked.source
    );
    perform cad._tune_partition(tuned, vectors, x.partition, asked.questions, compare_ms)
    from (select distinct w.partition from cad._ways(vectors) as w) as x;
    perform cad._tune_resident(tuned, vectors, asked.questions, compare_ms);
    perform cad._put_in_force(space, tuned.version);
    select string_agg(format('%s, %s: %s in %s ms', s.vectors, s.kind, round(s.recall::numeric, 3), round(s.p95_ms::numeric, 1)), '; ')
    into missed
    from cad.tuned_scan as s
    where s.space = tune.space and s.version = tuned.version and s.chosen
        and not (s.recall >= target_recall and s.p95_ms <= coalesce(tune.p95_ms, 'infinity'));
    if missed is not null then
        raise warning 'the target was not reached: %', missed
            using hint = 'The best there is was chosen. Another index may do better: select * from cad.index_plan(''<space>''), '
                'and tune again when it stands.';
    end if;
end
$$;

comment on procedure cad.tune is
'Measures how well and how fast the indexes of a space find the ten nearest parts, partition by partition, and lets '
'searches use the fastest settings that reach a recall (0.98), with 95 of 100 scans within p95_ms if given. What was '
'measured stands in cad.tuned_scan; cad.undo_tune goes back.';

create or replace function cad._put_in_force(space text, version int)
returns void
language sql
volatile parallel unsafe
set search_path from current
as $$
    update cad.tuning as t set in_force = false where t.space = _put_in_force.space and t.in_force;
    update cad.tuning as t set in_force = true
    where t.space = _put_in_force.space and t.version = _put_in_force.version;
$$;

comment on function cad._put_in_force(text, int) is 'Lets searches of a space follow this run of cad.tune, or none.';

create or replace function cad.undo_tune(space text)
returns int
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
declare
    before int;
begin
    perform cad._check_space(space);
    select t.before into before from cad.tuning as t where t.space = undo_tune.space and t.in_force;
    perform cad._put_in_force(space, before);
    return before;
end
$$;

comment on function cad.undo_tune(text) is
'Goes back to the settings before the last cad.tune. Returns the version that is in force now, null for the defaults.';
