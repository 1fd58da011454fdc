-- Candidates from the vectors that are resident in the encoder service (319-resident.sql). The service proposes parts;
-- they are compared again with the rows that this search sees, together with all parts that have changed since, and
-- only what is certain counts: no part that was not proposed is nearer. The rest is the affair of exact search.

create or replace function cad._check_resident(vectors regclass) returns void
language plpgsql stable parallel safe
set search_path from current
as $$
begin
    if exists (select from cad.resident as r where r.vectors = _check_resident.vectors and r.loaded_at is not null) then
        return;
    end if;
    raise exception 'the vectors of % are not resident in the encoder service', vectors
        using errcode = '55000', hint = 'Run call cad.load_resident(''<space>''); or leave the strategy to auto.';
end
$$;

comment on function cad._check_resident(regclass) is
'Refuses (55000) a table of vectors that the encoder service was not sent, or not yet all of it.';

create or replace function cad._uuids(sent bytea) returns uuid[]
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    return array(
        select encode(substr(sent, 16 * u.place - 15, 16), 'hex')::uuid
        from generate_series(1, length(sent) / 16) as u (place)
        order by u.place
    );
end
$$;

comment on function cad._uuids(bytea) is 'UUIDs from their bytes, one after the other.';

create or replace function cad._rank_proposed(
    vectors regclass, questions halfvec[], filters jsonb, most int,
    proposed bytea, bounds double precision[], touched bytea,
    out queries int[], out nearest uuid[], out distances double precision[], out changed int
)
language plpgsql stable parallel restricted
set search_path from current
set jit = off
as $$
declare
    -- The service and the server round differently: distances that differ by less are the same.
    tie constant double precision := 1e-5;
    for_each constant int := length(proposed) / 16 / cardinality(questions);
    changes constant uuid[] := cad._uuids(touched) || array(
        select c.model_id from cad.resident_change as c where c.vectors = _rank_proposed.vectors
    );
begin
    changed := cardinality(changes);
    execute format($query$
        with candidate as (
            select
                (p.place - 1) / $6 + 1 as query,
                p.part
            from unnest($4) with ordinality as p (part, place)

            union

            select
                q.query,
                c.part
            from generate_series(1, cardinality($2)) as q (query)
            cross join unnest($5) as c (part)
        ),

        compared as (
            select
                c.query,
                s.model_id,
                s.fused_vec <=> q.question as distance
            from candidate as c
            inner join cad._matching($3) as m on m.model_id = c.part
            inner join %s as s on s.model_id = m.model_id and case when $9 then s.family else s.family || '' end = m.family
            inner join unnest($2) with ordinality as q (question, query) on q.query = c.query
        ),

        ranked as (
            select
                c.*,
                row_number() over (partition by c.query order by c.distance, c.model_id) as rank
            from compared as c
            where c.distance <= 1 - ($7)[c.query] + $8 -- neither null nor NaN
        )

        select
            array_agg(r.query order by r.query, r.rank),
            array_agg(r.model_id order by r.query, r.rank),
            array_agg(r.distance order by r.query, r.rank)
        from ranked as r
        where r.rank <= $1
    $query$, vectors)
    into queries, nearest, distances
    using most, questions, filters, cad._uuids(proposed), changes, for_each, bounds, tie, cad._sees_partitions(vectors);
end
$$;

comment on function cad._rank_proposed(regclass, halfvec[], jsonb, int, bytea, double precision[], bytea) is
'Of the parts that the encoder service proposes for each question, the same number for each, and those that have changed, '
'the nearest that match: no other part that matches is nearer. bounds: cosines that those not proposed do not exceed.';

-- One function asks and ranks: what the service proposes may be hidden from the caller by policies; it stays in here.
create or replace function cad._nearest_resident(
    vectors regclass, questions halfvec[], filters jsonb, most int, matching int,
    out queries int[], out nearest uuid[], out distances double precision[], out detail jsonb, out error jsonb
)
language plpython3u stable parallel unsafe cost 10000
set search_path from current
as $python$
import json
import struct

fetched_most = 10000  # where more have to be looked through, comparing those that match is as quick
spare = 1.5  # the share that matches is an estimate

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
if 'rank' not in SD:
    SD['held'] = plpy.prepare(
        'select r.generation, r.changes, r.parts from cad.resident as r where r.vectors = $1 and r.loaded_at is not null',
        ['regclass'])
    SD['rank'] = plpy.prepare(
        'select r.* from cad._rank_proposed($1, $2, $3, $4, $5, $6, $7) as r',
        ['regclass', 'halfvec[]', 'jsonb', 'int', 'bytea', 'double precision[]', 'bytea'])


def ask(held, count):
    """Parts proposed, the bounds of the others, and parts that this snapshot may see otherwise than the service."""
    rows = [[float(number) for number in question[1:-1].split(',')] for question in questions]
    asked = b''.join(struct.pack(f'<{len(row)}f', *row) for row in rows)
    header = {'generation': held['generation'], 'since': held['changes'], 'count': count}
    [(_, answer, bodies)] = pgcad.answers([('resident_nearest', header, [asked])])
    if isinstance(answer, pgcad.ServiceError):
        raise answer
    return bodies[0], answer['bounds'], bodies[1]


try:
    if not (rows := plpy.execute(SD['held'], [vectors])):
        raise pgcad.ServiceError('55000', f'the vectors of {vectors} are not resident any more')
    [held] = rows
    limit = max(fetched_most, most)
    count = most if matching >= held['parts'] else min(limit, int(spare * most * held['parts'] / max(matching, 1)) + 1)
    while True:
        proposed, bounds, touched = ask(held, count)
        ranked = plpy.execute(SD['rank'], [vectors, questions, filters, most, proposed, bounds, touched])[0]
        found = ranked['nearest'] or []
        if len(found) >= most * len(questions) or count >= min(limit, held['parts']):
            break
        count = min(4 * count, limit)
except pgcad.ServiceError as failure:
    return None, None, None, None, json.dumps(pgcad.error_fields(failure))
detail = {'proposed': count, 'changed': ranked['changed']}
return ranked['queries'] or [], found, ranked['distances'] or [], json.dumps(detail), None
$python$;

comment on function cad._nearest_resident(regclass, halfvec[], jsonb, int, int) is
'The matching parts nearest to each question as the encoder service and the changes since tell, nearest first, perhaps '
'fewer than there are. matching: about how many match. A failure comes back as error.';

create or replace function cad.nearest_resident(space text, questions vector[], k int default 10)
returns table (query int, rank int, model_id uuid, distance double precision)
language plpgsql stable parallel unsafe
cost 1000000 rows 1000
set search_path from current
set jit = off
as $$
declare
    stored constant cad.space := cad._stored_space(space);
    pairs_at_once constant int := 100000;
    at_once int;
    asked halfvec[];
    found record;
begin
    perform cad._check_k(k);
    perform cad._check_resident(stored.vectors);
    at_once := greatest(1, pairs_at_once / k);
    for begun in 0 .. coalesce(cardinality(cad._check_batch(questions)), 0) - 1 by at_once loop
        asked := array(
            select cad._given_vector(stored, q.question)::halfvec
            from unnest(questions[begun + 1 : begun + at_once]) with ordinality as q (question, place)
            order by q.place
        );
        found := cad._nearest_resident(stored.vectors, asked, '{}', k, cad._matching_estimate('{}'));
        perform cad._raise(found.error);
        return query execute format($query$
            with answered as (
                select f.*
                from unnest($1, $2, $3) as f (query, model_id, distance)
            ),

            short as ( -- exactly, then
                select
                    q.query,
                    q.question
                from unnest($4) with ordinality as q (question, query)
                where (select count(*) from answered as a where a.query = q.query) < $6
            ),

            nearest as (
                select a.*
                from answered as a
                where a.query not in (select o.query from short as o)

                union all

                select
                    o.query,
                    e.*
                from short as o
                cross join lateral (
                    select
                        s.model_id,
                        s.fused_vec <=> o.question as distance
                    from cad.model as m
                    inner join %s as s
                        on s.model_id = m.model_id and case when $7 then s.family else s.family || '' end = m.family
                    where s.fused_vec <=> o.question <> 'NaN'
                    order by (s.fused_vec <=> o.question) + 0.0, s.model_id
                    limit $6
                ) as e
            )

            select
                (n.query + $5)::int,
                (row_number() over (partition by n.query order by n.distance, n.model_id))::int,
                n.model_id,
                n.distance
            from nearest as n
            order by 1, 2
        $query$, stored.vectors)
        using found.queries, found.nearest, found.distances, asked, begun, k, cad._sees_partitions(stored.vectors);
    end loop;
end
$$;

comment on function cad.nearest_resident(text, vector[], int) is
'The k nearest parts of a space that is resident, by cosine distance of the fused vectors, for each of many questions at '
'once: the encoder service compares all of them with all parts in one go. query is the place of the question in the list.';

create or replace function cad._resident_wins(vectors regclass, matching int, most int) returns boolean
language plpgsql stable parallel safe
set search_path from current
as $$
declare
    changes_most constant int := 1000; -- all of them are compared in every search
    looked_through constant int := 10000;
    measured record;
    parts bigint;
begin
    select r.parts into parts
    from cad.resident as r
    where r.vectors = _resident_wins.vectors and r.loaded_at is not null;
    if not found or most * parts > looked_through::bigint * greatest(matching, 1) then
        return false;
    end if;
    select * into measured from cad._tuned_scans(vectors) as t where t.kind = 'resident' and t.reached;
    return found
        and matching::double precision ^ 2 > measured.cost_parts::double precision * parts -- as in cad._scans
        and measured.p50_ms < (
            select sum(quickest.p50_ms)
            from (
                select coalesce(min(t.p50_ms), 'infinity') as p50_ms
                from pg_inherits as i
                left join cad._tuned_scans(vectors) as t on t.partition = i.inhrelid::regclass::text and t.reached
                where i.inhparent = vectors
                group by i.inhrelid
            ) as quickest
        )
        and (
            select count(*) <= changes_most
            from (select from cad.resident_change as c where c.vectors = _resident_wins.vectors limit changes_most + 1) as c
        );
end
$$;

comment on function cad._resident_wins(regclass, int, int) is
'Whether cad.tune found resident vectors to be quicker than the indexes of all partitions together, and few parts have '
'changed since the service was told.';
