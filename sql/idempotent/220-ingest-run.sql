-- Working off the queue. A batch is one transaction and its row locks are the claim: a backend or a service that dies
-- leaves its rows pending, and several sessions share the queue without knowing of each other.

create or replace function cad._analyse(queued bigint[]) returns setof cad._analysis
language plpython3u volatile parallel unsafe
set search_path from current
as $python$
import json
import time

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
item_of = plpy.prepare(
    "select format, content, jsonb_build_object('file_name', cad._file_stem(source_uri)) || metadata as metadata,"
    " cad._goes_alone(attempts) as alone from cad.ingest where ingest_id = $1", ['bigint'])
sent_at, alone, answered = {}, set(), {}


def requests():
    for index, ingest_id in enumerate(queued):
        item = plpy.execute(item_of, [ingest_id])[0]
        if item['alone']:
            alone.add(index)
        sent_at[index] = time.monotonic()
        header = {'space': 'cad', 'format': item['format'], 'metadata': json.loads(item['metadata'])}
        yield 'analyse', header, [item['content']]


def elapsed_ms(index):
    return 1000 * (time.monotonic() - sent_at[index]) if index in sent_at else None


def failure(index, error, is_answer):
    # Queue full, stopping, wrong state, no connection: they would hit the next file as well. All else an answer to
    # one file says, a worker's crash included, is about that file.
    of_file = is_answer and error.sqlstate not in ('53300', '55000', '57P01', '57P03') and error.sqlstate[:2] != '08'
    # A file that was sent and not answered may be the one that the service fails on; tried alone, it is.
    lost = not of_file and index in sent_at and error.sqlstate in ('08006', '08P01', '57014')
    verdict = {'of_file': of_file or lost and index in alone, 'lost': lost}
    return queued[index], json.dumps({**pgcad.error_fields(error), **verdict}), elapsed_ms(index), *[None] * 9


def analysis(index, reply, bodies):
    if isinstance(reply, pgcad.ServiceError):
        return failure(index, reply, is_answer=True)
    mesh, points, silhouettes, thumbnail, *views, vectors, brep = bodies
    return (queued[index], None, elapsed_ms(index), reply['version'], json.dumps(reply['report']), mesh, points,
            silhouettes, thumbnail, views, pgcad.vector_literals(vectors, reply['dim']), brep)


try:
    for index, reply, bodies in pgcad.answers(requests(), timeout='ingest_timeout_ms'):
        answered[index] = analysis(index, reply, bodies)
except pgcad.ServiceError as error:  # of the connection, a timeout included: every file without an answer shares it
    for index in set(range(len(queued))) - answered.keys():
        answered[index] = failure(index, error, is_answer=False)
return [answered[index] for index in range(len(queued))]
$python$;

comment on function cad._analyse(bigint[]) is
'Sends files of the queue to the encoders in one pipeline; one answer or error each, in the order asked.';

create or replace function cad._goes_alone(attempts integer) returns boolean
language sql immutable strict parallel safe
set search_path from current
as $$
    select attempts >= 3
$$;

comment on function cad._goes_alone(integer) is
'Whether a file that was tried so often is a batch of its own, so that it is known whose fault the next failure is.';

create or replace function cad._claim(batch_size integer) returns bigint[]
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    item record;
    claimed bigint[] := array[]::bigint[];
    room_bytes bigint := 256::bigint * 1024 * 1024; -- what one request may hold in memory; a single larger file still passes
begin
    for item in
        select ingest_id, octet_length(content) as bytes, cad._goes_alone(attempts) as alone
        from cad.ingest
        where state = 'pending'
        order by attempts, ingest_id -- so a file that the service breaks on comes after the others
        limit batch_size
        for update skip locked
    loop
        exit when claimed <> '{}' and (item.alone or item.bytes > room_bytes);
        room_bytes := room_bytes - item.bytes;
        claimed := claimed || item.ingest_id;
    end loop;
    -- Everybody works in order of checksum, so that two sessions with the same files cannot wait for each other.
    return array(select ingest_id from cad.ingest where ingest_id = any(claimed) order by sha256, ingest_id);
end
$$;

comment on function cad._claim(integer) is 'Locks pending files for this transaction; in order of checksum.';

create or replace function cad._require_encoder(seen text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    expected text;
begin
    update cad.space set encoder_version = seen where name = 'cad' and encoder_version is null;
    -- Locked, so that cad.reembed does not put other vectors in their place before these are stored.
    select encoder_version into strict expected from cad.space where name = 'cad' for share;
    if expected <> seen then
        raise exception 'the encoder service runs %, the vectors of space cad were made by %', seen, expected
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Start `pgcad serve` with the weights that made them, or run: call cad.reembed(''cad'');';
    end if;
end
$$;

comment on function cad._require_encoder(text) is
'Refuses vectors of another encoder than the one of the space; the first part decides which that is.';

create or replace function cad._store_answer(answer cad._analysis) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    advice text;
begin
    perform cad._store_part(answer.ingest_id, answer);
exception
    -- The whole classes 22, 23, 54 and 0A: what this file brought cannot be stored; 42501: row level security says that
    -- this role cannot store it. Everything else is passed on.
    when data_exception or integrity_constraint_violation or program_limit_exceeded or feature_not_supported
    or insufficient_privilege then
        get stacked diagnostics advice = pg_exception_hint;
        perform cad._store_failure(
            answer.ingest_id,
            jsonb_build_object('sqlstate', sqlstate, 'message', sqlerrm, 'hint', advice),
            answer.elapsed_ms
        );
    when disk_full then
        raise exception using
            errcode = 'disk_full',
            message = sqlerrm,
            hint = 'Make room on the disk. Nothing is lost: call cad.ingest_pending() again.';
end
$$;

comment on function cad._store_answer(cad._analysis) is
'Stores what the encoders made of a file; a file whose data cannot be stored fails alone.';

create or replace function cad._ingest_batch(
    batch_size integer, out claimed integer, out worked integer, out failure jsonb
)
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    files bigint[] := cad._claim(batch_size);
    twins bigint[]; -- files whose bytes are a part already
    twin record;
    answer cad._analysis;
begin
    claimed := cardinality(files);
    worked := 0;
    twins := array(
        select i.ingest_id from cad.ingest as i
        inner join cad.model as m on m.sha256 = i.sha256
        where i.ingest_id = any(files)
    );
    files := array(select f.id from unnest(files) with ordinality as f (id, place) where f.id <> all(twins) order by f.place);
    for answer in select * from cad._analyse(files) where files <> '{}' loop
        if answer.error is null then
            perform cad._require_encoder(answer.encoder_version);
            perform cad._store_answer(answer);
        elsif (answer.error ->> 'of_file')::boolean then
            perform cad._store_failure(answer.ingest_id, answer.error, answer.elapsed_ms);
        else
            failure := answer.error;
            update cad.ingest
            set attempts = attempts + 1
            where ingest_id = answer.ingest_id and (failure ->> 'lost')::boolean;
            continue;
        end if;
        worked := worked + 1;
    end loop;
    for twin in
        select i.ingest_id, m.model_id
        from cad.ingest as i
        inner join cad.model as m on m.sha256 = i.sha256
        where i.ingest_id = any(twins)
        order by i.sha256, i.ingest_id
    loop
        perform cad._store_alias(twin.ingest_id, twin.model_id);
        worked := worked + 1;
    end loop;
end
$$;

comment on function cad._ingest_batch(integer) is
'Works off one batch of the queue. A failure that is no file''s fault is returned; the files it hit stay pending, those '
'that were lost with one attempt more.';

create or replace function cad._ingest_step(
    batch_size integer, inout room bigint, inout retries integer, out pause_s double precision, out failure jsonb,
    out finished boolean
)
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    batch record;
begin
    if batch_size is null or batch_size < 1 or room < 0 then
        raise exception 'batch_size must be at least 1 and max_rows at least 0'
            using errcode = 'invalid_parameter_value', hint = 'Leave them out for the whole queue in batches of 8.';
    end if;
    begin
        select * into batch from cad._ingest_batch(least(batch_size, room)::integer);
    exception when deadlock_detected or serialization_failure then -- two sessions wrote the same parts: one tries again
        select 1 as claimed, 0 as worked, jsonb_build_object('sqlstate', sqlstate, 'message', sqlerrm) as failure into batch;
    end;
    room := room - batch.worked;
    finished := batch.claimed = 0;
    pause_s := 0;
    retries := case when batch.worked > 0 then 0 else retries end;
    if batch.failure ->> 'sqlstate' in ('53300', '40P01', '40001') and retries < 6 then -- others are working: wait
        pause_s := 0.25 * 2 ^ retries;
        retries := retries + 1;
    elsif batch.failure is not null then
        failure := batch.failure || jsonb_build_object('hint', concat_ws(
            ' ', nullif(batch.failure ->> 'hint', ''), 'Nothing is lost: call cad.ingest_pending() again.'
        ));
    end if;
end
$$;

comment on function cad._ingest_step(integer, bigint, integer) is
'One batch, and what to do next: go on, pause, raise the failure, or stop.';

create or replace function cad._statistics_are_stale() returns boolean
language sql stable parallel safe security definer
set search_path from current
as $$
    -- From the size of the table: the counters of the cumulative statistics come late, and a crash resets them.
    select pg_relation_size(c.oid) > 1.1 * c.relpages * current_setting('block_size')::bigint
        or c.relpages > 0 and not exists (select from pg_statistic as s where s.starelid = c.oid)
    from pg_class as c
    where c.oid = 'cad.model'::regclass
$$;

comment on function cad._statistics_are_stale() is
'Whether cad.model was never analysed, or has grown by a tenth since. The weights of words come from its statistics.';

-- Only the owner of a table may analyse it, and a loader is not.
create or replace function cad._refresh_statistics() returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
set client_min_messages = error -- who skips because another session is at it need not say so
as $$
begin
    if cad._statistics_are_stale() then
        analyze (skip_locked) cad.model;
    end if;
end
$$;

comment on function cad._refresh_statistics() is 'Analyses cad.model where its statistics no longer tell what is in it.';

-- An exception block of PL/pgSQL is a subtransaction, in which every commit fails; PL/Python can catch it without one.
create or replace procedure cad._commit(inout committed boolean)
language plpython3u
as $python$
try:
    plpy.commit()
except plpy.spiexceptions.InvalidTransactionTermination:
    return (False,)
return (True,)
$python$;

comment on procedure cad._commit is 'Commits; false instead of an error inside a transaction block, where nobody may.';

-- It commits, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad._refuse_in_transaction(called text, commits text)
language plpgsql
as $$
declare
    outside boolean;
begin
    call cad._commit(outside);
    if not outside then
        raise exception '% commits %, so it cannot run inside a transaction block', called, commits
            using errcode = '25001', hint = 'Call it without begin; a driver has a setting for that, often named autocommit.';
    elsif pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.<>) 'read committed' then
        raise exception '% commits %, and must see what others have committed meanwhile', called, commits
            using errcode = '25001', hint = 'Run: set default_transaction_isolation = ''read committed''; and call it again.';
    end if;
end
$$;

comment on procedure cad._refuse_in_transaction is
'Refuses (25001) a procedure that commits where it was called inside a transaction block, or would see an old snapshot.';

-- Commits after every batch, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.ingest_pending(max_rows integer default null, batch_size integer default 8)
language plpgsql
as $$
declare
    step record;
begin
    call cad._refuse_in_transaction('cad.ingest_pending()', 'after every batch');
    step := cad._ingest_step(batch_size, max_rows, 0);
    loop
        commit;
        perform cad._raise(step.failure), pg_catalog.pg_sleep(step.pause_s);
        exit when step.finished;
        step := cad._ingest_step(batch_size, step.room, step.retries);
    end loop;
    perform cad._refresh_statistics();
end
$$;

comment on procedure cad.ingest_pending is
'Turns pending files of cad.ingest into parts, at most max_rows of them, committing after every batch. '
'Any number of sessions may call it at once. A bad file fails alone; when the service is away the rest stays pending.';
