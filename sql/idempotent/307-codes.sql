-- Training the codes of a space, and making those that parts lack. A training makes another version beside the one that
-- serves, batch after batch, and then puts it in its place.

create or replace function cad._codes_parameter()
returns table (key text, lowest int, highest int, expected text)
language sql
immutable parallel safe
rows 4
set search_path from current
as $$
    values
    ('tables', 1, 32, 'tables of the hash, from 1 to 32'),
    ('bits', 4, 16, 'hyperplanes of a table, from 4 to 16'),
    ('subvectors', 1, 256, 'bytes of a code, from 1 to 256, not more than the space has dimensions'),
    ('seed', 1, 2147483647, 'a whole number from 1')
$$;

comment on function cad._codes_parameter() is 'What may be said about the codes of a space.';

create or replace function cad._check_codes(parameters jsonb, dim int)
returns void
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    wrong record;
begin
    if jsonb_typeof(parameters) is distinct from 'object' then
        raise exception 'parameters of codes must be a JSON object'
            using errcode = '22023', hint = 'Give {} for the defaults.';
    end if;
    select g.key, g.value, p.expected into wrong
    from jsonb_each(parameters) as g
    left join cad._codes_parameter() as p on p.key = g.key
    where not coalesce(jsonb_path_match(
        g.value, '$.type() == "number" && $ == $.floor() && $ >= $lowest && $ <= $highest',
        jsonb_build_object('lowest', p.lowest, 'highest', case p.key when 'subvectors' then least(p.highest, dim) else p.highest end),
        silent => true
    ), false)
    limit 1;
    if found then
        raise exception 'codes cannot have % = %', quote_ident(left(wrong.key, 100)), left(wrong.value::text, 100)
            using errcode = '22023', hint = coalesce('Expected ' || wrong.expected || '.', 'Known parameters: ' || (
                select string_agg(p.key, ', ' order by p.key) from cad._codes_parameter() as p
            ) || '.');
    end if;
end
$$;

comment on function cad._check_codes(jsonb, int) is 'Refuses (22023) parameters that codes cannot have.';

create or replace function cad._gauss(number bigint, seed bigint)
returns double precision
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
declare
    span constant bigint := 1::bigint << 52;
    -- Above 0, of which there is no logarithm.
    radius constant double precision := ((hashint8extended(number, seed) & (span - 1)) + 1) / span::double precision;
    turn constant double precision := (hashint8extended(number, seed + span) & (span - 1)) / span::double precision;
begin
    return sqrt(-2 * ln(radius)) * cos(2 * pi() * turn);
end
$$;

comment on function cad._gauss(bigint, bigint) is
'Numbers of a normal distribution (Box and Muller 1958), the same ones for the same seed, whatever random() is used for.';

create or replace function cad._packed(vectors halfvec[])
returns bytea
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
begin
    return (
        select string_agg(substr(halfvec_send(v.vec), 5), '' order by v.place) -- behind its number of dimensions
        from unnest(vectors) with ordinality as v (vec, place)
    );
end
$$;

comment on function cad._packed(halfvec[]) is 'Vectors as the encoders take them: float16 big-endian, one after the other.';

create or replace function cad._begin_codes(space text, parameters jsonb)
returns int
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
declare
    most constant int := 16384; -- 64 for each centroid
    fewest constant int := 256;
    stored cad.space;
    chosen cad.codebook;
    sample halfvec[];
    mean halfvec;
    different int;
    answer record;
begin
    perform cad._check_space(space);
    perform cad._refuse_while_reembedded(space);
    perform pg_advisory_xact_lock(hashtextextended('pgcad codes ' || space, 0));
    select s.* into strict stored from cad.space as s where s.name = _begin_codes.space;
    perform cad._check_codes(parameters, stored.dim);
    chosen.seed := coalesce((parameters -> 'seed')::int, 1 + floor(random() * 2147483646)::int);
    execute format('select count(*) from %s as s where s.fused_vec is not null', stored.vectors) into chosen.parts;
    execute format($query$
        select array_agg(l2_normalize(v.fused_vec)), avg(l2_normalize(v.fused_vec)), count(distinct v.fused_vec)
        from (
            select s.fused_vec
            from %s as s
            where l2_norm(s.fused_vec) > 0
            order by hashtextextended(s.model_id::text, $1)
            limit $2
        ) as v
    $query$, stored.vectors)
    into sample, mean, different
    using chosen.seed, most;
    if different < fewest then
        raise exception 'space % has only % different vectors to learn codes from', space, different
            using errcode = '55000', hint = format(
                'Load parts first: codes need %s, and are worth while where there are many times as many.', fewest
            );
    end if;
    chosen.subvectors := coalesce((parameters -> 'subvectors')::int, least(32, stored.dim));
    answer := cad._request(
        'train_codebook',
        jsonb_build_object('dim', stored.dim, 'subvectors', chosen.subvectors, 'seed', chosen.seed),
        array[cad._packed(sample)]
    );
    perform cad._raise(answer.error);
    delete from cad.codebook as b where b.space = _begin_codes.space and b.state <> 'serving'; -- of a run that was stopped
    insert into cad.codebook (space, encoder_version, seed, tables, bits, subvectors, sample, parts)
    values (
        space, stored.encoder_version, chosen.seed, coalesce((parameters -> 'tables')::int, 16),
        coalesce((parameters -> 'bits')::int, least(16, greatest(4, round(log(2, chosen.parts / 16.0))))),
        chosen.subvectors, cardinality(sample), chosen.parts
    )
    returning * into chosen;
    insert into cad.hyperplane (version, hash_table, bit, normal, threshold)
    select chosen.version, h.hash_table, h.bit, h.normal, -(h.normal <#> mean)
    from (
        select
            t.hash_table, b.bit,
            l2_normalize(array_agg(
                cad._gauss((t.hash_table * chosen.bits + b.bit) * stored.dim + d.dimension, chosen.seed)
            )::halfvec) as normal
        from generate_series(0, chosen.tables - 1) as t (hash_table)
        cross join generate_series(0, chosen.bits - 1) as b (bit)
        cross join generate_series(0, stored.dim - 1) as d (dimension)
        group by t.hash_table, b.bit
    ) as h;
    insert into cad.centroid (version, subvector, number, centroid)
    select chosen.version, (c.place - 1) / 256, (c.place - 1) % 256, c.centroid
    from unnest(answer.vectors) with ordinality as c (centroid, place);
    return chosen.version;
end
$$;

comment on function cad._begin_codes(text, jsonb) is
'Trains a codebook: hyperplanes through the mean of a sample of the vectors, and centroids of their subvectors. Drops what '
'a training that was stopped has left.';

create or replace function cad._encode_batch(version int, after uuid)
returns uuid
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
set enable_hashjoin = off -- a batch is wanted, not the whole table: walk the key and look each part up
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
declare
    most constant int := 4096;
    used record;
    parts uuid[];
    families text[];
    vectors halfvec[];
    answer record;
begin
    select b.version, b.subvectors, s.name, s.vectors, s.dim into used
    from cad.codebook as b
    inner join cad.space as s on s.name = b.space
    where b.version = _encode_batch.version and b.state <> 'void';
    if not found then
        raise exception 'codebook % is gone: there is another, or the space has other vectors now', version
            using errcode = '55006', hint = 'select * from cad.code_health; tells what there is.';
    end if;
    perform cad._refuse_while_reembedded(used.name);
    execute format($query$
        select array(
            select s.model_id
            from %s as s
            where s.model_id > $1 and not exists (
                select from cad.part_code as c where c.model_id = s.model_id and c.version = $2 and c.code is not null
            )
            order by s.model_id
            limit $3
        )
    $query$, used.vectors)
    into parts
    using after, version, most;
    if parts = '{}' then
        return null;
    end if;
    after := parts[cardinality(parts)];
    -- They stay as they are until the commit. Parts before vectors, which is the order of whoever deletes a part.
    perform from cad.model as m where m.model_id = any(parts) order by m.model_id for key share;
    execute format($query$
        select array_agg(v.model_id), array_agg(v.family), array_agg(v.fused_vec)
        from (select s.* from %s as s where s.model_id = any($1) and l2_norm(s.fused_vec) > 0 for share) as v
    $query$, used.vectors)
    into parts, families, vectors
    using parts;
    if parts is null then
        return after;
    end if;
    answer := cad._request(
        'encode_vectors', jsonb_build_object('dim', used.dim, 'subvectors', used.subvectors),
        array[
            cad._packed(array(
                select c.centroid from cad.centroid as c where c.version = used.version order by c.subvector, c.number
            )),
            cad._packed(array(
                select l2_normalize(v.vec) from unnest(vectors) with ordinality as v (vec, place) order by v.place
            ))
        ]
    );
    perform cad._raise(answer.error);
    insert into cad.part_code (model_id, version, family, vector_md5, buckets, code)
    select
        p.model_id, used.version, p.family, md5(halfvec_send(p.vec))::uuid, cad._buckets(used.version, p.vec),
        substr(made.codes, 1 + (p.place::int - 1) * used.subvectors, used.subvectors)
    from (select decode(answer.reply ->> 'codes', 'base64') as codes) as made
    cross join unnest(parts, families, vectors) with ordinality as p (model_id, family, vec, place);
    return after;
end
$$;

comment on function cad._encode_batch(int, uuid) is
'Makes the buckets and codes of the next parts behind a given one that lack them; returns the last of these, null where '
'there are none.';

create or replace function cad._finish_codes(version int)
returns boolean
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
set lock_timeout = '2s'
as $$
declare
    used record;
    after uuid := uuid '00000000-0000-0000-0000-000000000000';
begin
    select s.name, s.vectors into strict used
    from cad.codebook as b
    inner join cad.space as s on s.name = b.space
    where b.version = _finish_codes.version;
    -- Writers wait, searches do not. In the order in which ingest takes its locks.
    lock table cad.model in share row exclusive mode;
    execute format('lock table %s in share row exclusive mode', used.vectors);
    while after is not null loop
        after := cad._encode_batch(version, after);
    end loop;
    update cad.codebook as b set state = 'void'
    where b.space = used.name and b.version <> _finish_codes.version and b.state <> 'void';
    update cad.codebook as b set state = 'serving' where b.version = _finish_codes.version;
    return true;
exception when lock_not_available then
    return false;
end
$$;

comment on function cad._finish_codes(int) is
'Makes the codes of the last parts while no others can come, and lets searches use this version. False where other '
'sessions are at work on the tables for longer than it waits.';

create or replace function cad._tidy_codes(space text)
returns void
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
begin
    delete from cad.codebook as b where b.space = _tidy_codes.space and b.state = 'void';
    analyze cad.part_code;
end
$$;

comment on function cad._tidy_codes(text) is 'Drops the codes that serve no more.';

create or replace function cad.drop_codes(space text)
returns void
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
begin
    perform cad._check_space(space);
    delete from cad.codebook as b where b.space = drop_codes.space;
end
$$;

comment on function cad.drop_codes(text) is 'Drops the codes of a space, which strategies lsh and tri need.';

create or replace function cad._latest_codes(space text)
returns cad.codebook
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    latest cad.codebook;
begin
    perform cad._check_space(space);
    select b.* into latest
    from cad.codebook as b
    where b.space = _latest_codes.space and b.state <> 'void'
    order by b.version desc
    limit 1;
    if not found then
        raise exception 'space % has no codes', space
            using errcode = '55000', hint = format('Run: call cad.train_codes(%L);', space);
    end if;
    return latest;
end
$$;

comment on function cad._latest_codes(text) is
'The codebook of a space that is being built, or else the one that serves; refuses (55000) where there is none.';

-- Procedures that commit cannot have a set clause: every name below is qualified.
create or replace procedure cad._encode_parts(space text)
language plpgsql
as $$
declare
    latest cad.codebook := cad._latest_codes(space);
    after pg_catalog.uuid := '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid;
    tries integer := 0;
begin
    while after is not null loop
        after := cad._encode_batch(latest.version, after);
        commit;
    end loop;
    if latest.state operator(pg_catalog.=) 'serving' then
        return;
    end if;
    while not cad._finish_codes(latest.version) loop
        commit;
        tries := tries operator(pg_catalog.+) 1;
        if tries operator(pg_catalog.>=) 20 then
            raise exception 'the tables of space % are locked by other sessions', space
                using errcode = 'lock_not_available',
                    hint = pg_catalog.format('What is made is kept. When they are done: call cad.encode_parts(%L);', space);
        end if;
        perform pg_catalog.pg_sleep(0.5);
    end loop;
    commit;
    perform cad._tidy_codes(space);
end
$$;

comment on procedure cad._encode_parts is 'Makes the codes that parts of a space lack, and ends a training that is going on.';

create or replace procedure cad.encode_parts(space text)
language plpgsql
as $$
begin
    call cad._refuse_in_transaction('cad.encode_parts()', 'after every batch');
    call cad._encode_parts(space);
end
$$;

comment on procedure cad.encode_parts is
'Makes the codes of parts that came or changed since cad.train_codes, committing after every batch; cad.code_health tells '
'how many lack one. After cad.train_codes was interrupted it goes on from there.';

create or replace procedure cad.train_codes(space text, parameters jsonb default '{}')
language plpgsql
as $$
begin
    call cad._refuse_in_transaction('cad.train_codes()', 'after every batch');
    perform cad._begin_codes(space, parameters);
    commit;
    call cad._encode_parts(space);
end
$$;

comment on procedure cad.train_codes is
'Learns codes from the vectors of a space and gives them to all of its parts, for strategies lsh and tri. Parameters: '
'tables, bits, subvectors and seed, such as call cad.train_codes(''cad'', ''{"tables": 24}''). Searches use the codes that '
'there are until the new ones are complete.';
