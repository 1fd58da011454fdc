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
item_of = plpy.prepare('select format, content, metadata from cad.ingest where ingest_id = $1', ['bigint'])


def requests():
    for ingest_id in queued:
        item = plpy.execute(item_of, [ingest_id])[0]
        header = {'space': 'cad', 'format': item['format'], 'metadata': json.loads(item['metadata'])}
        yield 'analyse', header, [item['content']]


def is_of_file(error):
    # Queue full, stopping, wrong state, no connection: they would hit the next file as well. All else an answer to
    # one file says, a worker's crash included, is about that file.
    return error.sqlstate not in ('53300', '55000', '57P01', '57P03') and not error.sqlstate.startswith('08')


def failure(ingest_id, error, of_file):
    return ingest_id, json.dumps({**pgcad.error_fields(error), 'of_file': of_file}), elapsed_ms, *[None] * 7


def analysis(ingest_id, reply, bodies):
    if isinstance(reply, pgcad.ServiceError):
        return failure(ingest_id, reply, is_of_file(reply))
    mesh, points, thumbnail, *views, vectors = bodies
    return (ingest_id, None, elapsed_ms, reply['version'], json.dumps(reply['report']), mesh, points, thumbnail, views,
            pgcad.vector_literals(vectors, reply['dim']))


started, answered = time.monotonic(), {}
try:
    for index, reply, bodies in pgcad.answers(requests(), timeout='ingest_timeout_ms'):
        elapsed_ms = 1000 * (time.monotonic() - started)
        answered[index] = analysis(queued[index], reply, bodies)
except pgcad.ServiceError as error:  # of the connection, a timeout included: every file without an answer shares it
    elapsed_ms = 1000 * (time.monotonic() - started)
    for index, ingest_id in enumerate(queued):
        answered.setdefault(index, failure(ingest_id, error, of_file=False))
return [answered[index] for index in range(len(queued))]
$python$;

comment on function cad._analyse(bigint[]) is
'Sends files of the queue to the encoders in one pipeline; one answer or error each, in the order asked.';

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
        select ingest_id, octet_length(content) as bytes
        from cad.ingest
        where state = 'pending'
        order by ingest_id
        limit batch_size
        for update skip locked
    loop
        exit when item.bytes > room_bytes and claimed <> '{}';
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
    select encoder_version into strict expected from cad.space where name = 'cad';
    if expected <> seen then
        raise exception 'the encoder service runs %, the vectors of space cad were made by %', seen, expected
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Start `pgcad serve` with the weights that made them, or load the parts into a new database.';
    end if;
end
$$;

comment on function cad._require_encoder(text) is
'Refuses vectors of another encoder than the one of the space; the first part decides which that is.';

create or replace function cad._store_answer(answer cad._analysis) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
begin
    perform cad._store_part(answer.ingest_id, answer);
exception
    -- The whole classes 22, 23, 54 and 0A: what this file brought cannot be stored. Everything else is passed on.
    when data_exception or integrity_constraint_violation or program_limit_exceeded or feature_not_supported then
        perform cad._store_failure(answer.ingest_id, jsonb_build_object('sqlstate', sqlstate, 'message', sqlerrm));
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
            perform cad._store_failure(answer.ingest_id, answer.error);
        else
            failure := answer.error;
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
'Works off one batch of the queue. A failure that is no file''s fault is returned; the files it hit stay pending.';

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

-- Commits after every batch, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.ingest_pending(max_rows integer default null, batch_size integer default 8)
language plpgsql
as $$
declare
    step record;
begin
    step := cad._ingest_step(batch_size, max_rows, 0);
    loop
        commit;
        perform cad._raise(step.failure), pg_catalog.pg_sleep(step.pause_s);
        exit when step.finished;
        step := cad._ingest_step(batch_size, step.room, step.retries);
    end loop;
end
$$;

comment on procedure cad.ingest_pending is
'Turns pending files of cad.ingest into parts, at most max_rows of them, committing after every batch. '
'Any number of sessions may call it at once. A bad file fails alone; when the service is away the rest stays pending.';
