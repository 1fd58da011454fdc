-- The log of searches, and recall measured with it.

create or replace function cad._is_logged()
returns boolean
language plpgsql
volatile parallel restricted
set search_path from current
as $$
declare
    given constant text := coalesce(nullif(current_setting('pgcad.log_share', true), ''), '0.01');
begin
    if given !~ '^(0?\.\d+|[01](\.0*)?|0\.\d*)$' then
        raise exception 'pgcad.log_share is %, which is no share', quote_literal(left(given, 100))
            using errcode = '22023', hint = 'Set it to a number from 0 (log nothing) to 1 (log every search).';
    end if;
    return random() < given::double precision
        and current_setting('transaction_read_only') = 'off'; -- nor on a standby
end
$$;

comment on function cad._is_logged() is 'Whether this search is one of the sample, of which pgcad.log_share says how large it is.';

create or replace function cad._log_search(
    asked cad._query, filters jsonb, k int, strategy text, scans jsonb, nearest uuid[], hits int, vector_ms real,
    elapsed_ms real
)
returns void
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
declare
    compared constant int := 20; -- ten and some more, where there are: parts may be deleted until it is checked
    searched record;
    logged bigint;
begin
    select s.name, s.encoder_version into searched from cad.space as s where s.vectors = asked.vectors;
    insert into cad.search_log (space, query_kind, strategy, k, hits, vector_ms, elapsed_ms)
    values (searched.name, asked.kind, strategy, k, hits, vector_ms, elapsed_ms)
    returning search_id into logged;
    if scans is not null then
        insert into cad.search_question (search_id, encoder_version, question, filters, scans, nearest)
        values (logged, searched.encoder_version, asked.fused_vec, filters, scans, nearest[:compared]);
    end if;
exception when serialization_failure then
    return; -- the space was changed since this transaction began: it goes on searching, and is not in the sample
end
$$;

comment on function cad._log_search(cad._query, jsonb, int, text, jsonb, uuid[], int, real, real) is
'Writes a search down; with scans also what it asked and found, so that it can be checked.';

create or replace function cad._hits(vectors regclass, question halfvec, nearest uuid[], truth uuid[])
returns int
language plpgsql
stable parallel restricted
set search_path from current
as $$
declare
    hits int;
begin
    if nearest <@ truth then
        return cardinality(nearest);
    end if;
    execute format($query$
        select least(count(*), cardinality($3))
        from %1$s as s
        where s.model_id = any($2)
            and s.fused_vec <=> $1 <= (select max(t.fused_vec <=> $1) from %1$s as t where t.model_id = any($3))
    $query$, vectors) into hits using question, nearest, truth;
    return hits;
end
$$;

comment on function cad._hits(regclass, halfvec, uuid[], uuid[]) is
'How many of the parts that were found are as near to a question as those that are nearest in truth. Of parts with the same '
'vectors, one is as good as another.';

create or replace function cad._true_nearest(question cad.search_question, searched cad.search_log, most int)
returns table (part uuid, vectors text)
language plpgsql
stable parallel unsafe
set search_path from current
as $$
declare
    asked cad._query;
    before constant jsonb := jsonb_build_object('created_at', coalesce(question.filters -> 'created_at', '{}') || jsonb_build_object(
        'to', least((question.filters #>> '{created_at,to}')::timestamptz, searched.asked_at)
    ));
begin
    select s.vectors into asked.vectors from cad.space as s where s.name = searched.space;
    asked.fused_vec := question.question;
    return query execute format(
        'select s.model_id, s.tableoid::regclass::text from %s as s where s.model_id = any($1) and s.fused_vec is not null',
        asked.vectors
    ) using cad._nearest_exact('fused', asked, question.filters || before, most);
end
$$;

comment on function cad._true_nearest(cad.search_question, cad.search_log, int) is
'The parts nearest to a logged question, of those that were there when it was asked, and the partition of each.';

create or replace function cad._check_question(question cad.search_question, searched cad.search_log)
returns void
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    still_there constant uuid[] := array(
        select n.part
        from unnest(question.nearest) with ordinality as n (part, place)
        where exists (select from cad.model as m where m.model_id = n.part)
        order by n.place
        limit 10
    );
    truth uuid[];
    partitions text[]; -- that these lie in
    equally_near int; -- to those in truth, and not among them
begin
    select array_agg(t.part), array_agg(t.vectors) into truth, partitions
    from cad._true_nearest(question, searched, cardinality(still_there)) as t;
    select cad._hits(s.vectors, question.question, still_there, truth) - (
        select count(*) from unnest(still_there) as f (part) where f.part = any(truth)
    )
    into equally_near
    from cad.space as s
    where s.name = searched.space;
    insert into cad.recall_check (search_id, vectors, strategy, wanted, found)
    select
        searched.search_id,
        t.vectors,
        coalesce(
            (
                select s.value ->> 'kind'
                from jsonb_array_elements(question.scans) as s
                where s.value ->> 'partition' = t.vectors
            ),
            'exact'
        ),
        count(*),
        count(*) filter (where t.is_found or t.place <= equally_near)
    from (
        select
            n.vectors,
            n.part = any(still_there) as is_found,
            row_number() over (partition by n.part = any(still_there)) as place
        from unnest(truth, partitions) as n (part, vectors)
    ) as t
    group by t.vectors;
end
$$;

comment on function cad._check_question(cad.search_question, cad.search_log) is
'Compares the ten nearest that a logged search found, or as many as it did, with the truth. What is not there any more is '
'neither wanted nor found.';

create or replace function cad.check_recall(most int default 100, keep interval default '30 days')
returns int
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
declare
    waiting record;
    checked int := 0;
begin
    if most is null or most < 0 then
        raise exception 'most is %', coalesce(most::text, 'null')
            using errcode = '22023', hint = 'Give how many searches to check at most.';
    end if;
    delete from cad.search_log as l where l.asked_at < now() - keep;
    for waiting in
        select q as question, l as searched, q.encoder_version is not distinct from s.encoder_version as comparable
        from cad.search_question as q
        inner join cad.search_log as l on l.search_id = q.search_id
        inner join cad.space as s on s.name = l.space
        where q.checked_at is null
        order by q.search_id
        limit most
        for update of q skip locked
    loop
        if waiting.comparable then -- or the vectors it was compared with are gone
            perform cad._check_question(waiting.question, waiting.searched);
            checked := checked + 1;
        end if;
        update cad.search_question as q set checked_at = now() where q.search_id = (waiting.question).search_id;
    end loop;
    return checked;
end
$$;

comment on function cad.check_recall(int, interval) is
'Compares logged searches with exact search, at most so many, oldest first, for cad.recall_hourly; returns how many it '
'compared. Drops what was logged longer ago than keep. Call it from a scheduler.';

create or replace function cad._recall(
    found integer[], wanted integer[], out share double precision, out low double precision, out high double precision
)
language sql
immutable strict parallel safe
set search_path from current
as $$
    with question as (
        select q.found, q.wanted
        from unnest(_recall.found, _recall.wanted) as q (found, wanted)
    ),

    total as (
        select
            sum(q.found)::double precision / nullif(sum(q.wanted), 0) as share,
            sum(q.wanted)::double precision as wanted,
            count(*) as questions
        from question as q
    ),

    worth as ( -- so many draws of their own would tell as much
        select
            t.share,
            nullif(t.wanted, 0) / greatest(1, coalesce(
                sum((q.found - t.share * q.wanted) ^ 2) * t.questions / nullif(t.questions - 1, 0)
                / nullif(t.wanted * t.share * (1 - t.share), 0),
                1
            )) as draws,
            1.96 ^ 2 as z2
        from total as t
        cross join question as q
        group by t.share, t.wanted, t.questions
    ),

    interval as (
        select
            w.share,
            (w.share + w.z2 / (2 * w.draws)) / (1 + w.z2 / w.draws) as centre,
            sqrt(w.z2 * (w.share * (1 - w.share) + w.z2 / (4 * w.draws)) / w.draws) / (1 + w.z2 / w.draws) as half
        from worth as w
    )

    select i.share, least(i.share, i.centre - i.half), greatest(i.share, i.centre + i.half) -- at 0 and 1 but for rounding
    from interval as i
$$;

comment on function cad._recall(integer[], integer[]) is
'Recall, from how many parts each question found and wanted, and its 95 % interval: Wilson (1927), Probable inference, the '
'law of succession, and statistical inference. What one question finds and misses hangs together, which widens it by the '
'design effect: Kish (1965), Survey Sampling.';
