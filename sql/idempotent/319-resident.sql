-- Vectors that are resident in the encoder service: loaded, told of changes, dropped.
--
-- A trigger on the table of vectors notes every part that a transaction changes, in that transaction. It is there only
-- while vectors are resident, and it comes before they are read: making it waits for whoever writes already, and what
-- anybody writes from then on is noted, by transactions with an older snapshot too. So what a snapshot sees of a part
-- is what the service was sent, or the snapshot sees the part noted, or the service knows of a change that the snapshot
-- does not, and names its parts (pgcad/service/resident.py).

create or replace function cad._note_resident_change() returns trigger
language plpgsql security definer
set search_path from current
as $$
begin
    insert into cad.resident_change (vectors, model_id)
    values (coalesce(pg_partition_root(tg_relid), tg_relid), coalesce(new.model_id, old.model_id));
    return null;
end
$$;

comment on function cad._note_resident_change() is
'Notes that the vectors of a part have changed. For each row: so every partition, also one that comes later, has it too.';

create or replace function cad._resident_request(
    op text, header jsonb, payloads bytea[] default '{}', out reply jsonb, out bodies bytea[], out error jsonb
)
language plpython3u volatile parallel unsafe cost 10000
set search_path from current
as $python$
import json

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
try:
    [(_, reply, bodies)] = pgcad.answers([(op, json.loads(header), payloads)], timeout='ingest_timeout_ms')
except pgcad.ServiceError as lost:
    reply = lost
if isinstance(reply, pgcad.ServiceError):
    return None, None, json.dumps(pgcad.error_fields(reply))
return json.dumps(reply), bodies, None
$python$;

comment on function cad._resident_request(text, jsonb, bytea[]) is
'One request about resident vectors to the encoder service. A failure comes back as error.';

create or replace function cad._send_resident(vectors regclass, generation uuid, out parts bigint, out error jsonb)
language plpython3u volatile parallel unsafe cost 1000000
set search_path from current
as $python$
import json

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
batch_bytes = 2 << 20  # the service takes in 64 of them at once
header = {'generation': generation}
rows = plpy.cursor(
    'select uuid_send(s.model_id) as part, substr(halfvec_send(s.fused_vec), 5) as vector'  # behind two lengths
    f' from {vectors} as s where s.fused_vec is not null'
)
sent = []


def batches():
    size = 1
    while batch := rows.fetch(size):
        sent.append(len(batch))
        size = max(1, batch_bytes // len(batch[0]['vector']))
        yield 'resident_append', header, [b''.join(row[column] for row in batch) for column in ('part', 'vector')]


try:
    for requests in (batches(), [('resident_finish', header, [])]):
        for _, answer, _ in pgcad.answers(requests, timeout='ingest_timeout_ms'):
            if isinstance(answer, pgcad.ServiceError):
                raise answer
    if answer['parts'] != sum(sent):
        raise pgcad.ServiceError('XX000', f"{sum(sent)} parts were sent, but {answer['parts']} are resident")
except pgcad.ServiceError as failure:
    return None, json.dumps(pgcad.error_fields(failure))
return sum(sent), None
$python$;

comment on function cad._send_resident(regclass, uuid) is
'Sends the fused vectors of a table, as they are now, to the encoder service. Returns how many there are, or an error.';

create or replace function cad._drop_resident_trigger(vectors regclass) returns void
language plpgsql volatile strict parallel unsafe
set search_path from current
set lock_timeout = '2s' -- searches wait behind this
as $$
begin
    if exists (select from pg_trigger as t where t.tgrelid = vectors and t.tgname = 'note_resident_change') then
        execute format('drop trigger note_resident_change on %s', vectors);
    end if;
end
$$;

comment on function cad._drop_resident_trigger(regclass) is 'No longer notes which vectors of a table change.';

create or replace function cad._begin_resident(space text) returns uuid
language plpgsql volatile parallel unsafe security definer
set search_path from current
set lock_timeout = '2s' -- whoever wants to write waits behind this
as $$
declare
    generation constant uuid := gen_random_uuid();
    stored cad.space;
    older regclass;
    answer record;
begin
    perform cad._check_space(space);
    perform cad._refuse_while_reembedded(space);
    select s.* into strict stored from cad.space as s where s.name = _begin_resident.space;
    -- First of all: where there is no room, nothing has happened.
    select * into answer from cad._resident_request('resident_begin', jsonb_build_object(
        'generation', generation,
        'database', (select format('%s of %s', current_database(), c.system_identifier) from pg_control_system() as c),
        'space', space,
        'dim', stored.dim,
        'parts', (select coalesce(sum(p.parts), 0) from cad._partitions(stored.vectors) as p)
    ));
    perform cad._raise(answer.error);
    select r.vectors into older from cad.resident as r where r.space = _begin_resident.space for update;
    if older <> stored.vectors then
        perform cad._drop_resident_trigger(older);
        delete from cad.resident_change as c where c.vectors = older;
    end if;
    if not exists (
        select from pg_trigger as t where t.tgrelid = stored.vectors and t.tgname = 'note_resident_change'
    ) then
        execute format(
            'create trigger note_resident_change after insert or update or delete on %s
            for each row execute function cad._note_resident_change()', stored.vectors
        );
    end if;
    -- What they tell of is committed, so it will be read.
    delete from cad.resident_change as c where c.vectors = stored.vectors;
    insert into cad.resident as r (space, vectors, generation, encoder_version)
    values (stored.name, stored.vectors, generation, stored.encoder_version)
    on conflict on constraint resident_pkey do update
    set vectors = excluded.vectors, generation = excluded.generation, changes = 0,
        encoder_version = excluded.encoder_version, parts = 0, began_at = now(), loaded_at = null, refreshed_at = null;
    return generation;
exception when lock_not_available then
    raise exception 'the vectors of space % are being changed by other sessions', space
        using errcode = 'lock_not_available', hint = 'Call cad.load_resident again when they are done.';
end
$$;

comment on function cad._begin_resident(text) is
'Makes room in the encoder service for the vectors of a space, and notes every change of them from the commit on. Returns '
'what the service knows them by.';

create or replace function cad._finish_resident(space text, generation uuid) returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    vectors regclass;
    answer record;
begin
    select r.vectors into vectors
    from cad.resident as r
    where r.space = _finish_resident.space and r.generation = _finish_resident.generation;
    if vectors is not null then
        select * into answer from cad._send_resident(vectors, generation);
        perform cad._raise(answer.error);
        update cad.resident as r
        set parts = answer.parts, loaded_at = clock_timestamp()
        where r.space = _finish_resident.space and r.generation = _finish_resident.generation;
    end if;
    if not found then
        raise exception 'another session has begun to load space %, or has dropped it', space
            using errcode = '55006', hint = 'Let it finish; cad.resident_health tells when.';
    end if;
end
$$;

comment on function cad._finish_resident(text, uuid) is
'Sends the vectors of a space to the encoder service; from the commit on searches use them.';

-- Commits between the steps, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.load_resident(space text default 'cad')
language plpgsql
as $$
declare
    generation uuid;
begin
    call cad._refuse_in_transaction('cad.load_resident()', 'between its steps');
    generation := cad._begin_resident(space);
    commit;
    perform cad._finish_resident(space, generation);
end
$$;

comment on procedure cad.load_resident is
'Sends the fused vectors of a space to the encoder service, which keeps them in memory, on the GPU where it has one, for '
'options.strategy resident: exact search among all of them. In place of those it had. To be called again after a restart '
'of the service and after cad.reembed.';

create or replace function cad._refresh_resident_step(space text, most integer) returns integer
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    held cad.resident;
    header jsonb;
    known record;
    noted bigint[];
    parts uuid[];
    payloads bytea[];
    answer record;
begin
    perform cad._check_space(space);
    -- One at a time; and whoever has an older snapshot than the last one fails here.
    select r.* into held from cad.resident as r where r.space = _refresh_resident_step.space for update;
    perform cad._check_resident((select s.vectors from cad.space as s where s.name = _refresh_resident_step.space));
    header := jsonb_build_object('generation', held.generation);
    -- Told by somebody who did not commit, it may hold what is not so: those parts are sent again.
    select * into known from cad._resident_request('resident_touched', header || jsonb_build_object('since', held.changes));
    perform cad._raise(known.error);
    select array_agg(c.change_id), array_agg(c.model_id) || cad._uuids(known.bodies[1])
    into noted, parts
    from (select * from cad.resident_change as c where c.vectors = held.vectors order by c.change_id limit most) as c;
    if cardinality(parts) > 0 then
        execute format($query$
            select array[
                coalesce(string_agg(uuid_send(p.part), '') filter (where s.fused_vec is not null), ''),
                coalesce(string_agg(substr(halfvec_send(s.fused_vec), 5), '') filter (where s.fused_vec is not null), ''),
                coalesce(string_agg(uuid_send(p.part), '') filter (where s.fused_vec is null), '')
            ]
            from (select distinct unnest($1) as part) as p
            left join %s as s on s.model_id = p.part
        $query$, held.vectors) into payloads using parts;
        select * into answer
        from cad._resident_request(
            'resident_change', header || jsonb_build_object('after', known.reply -> 'changes'), payloads
        );
        perform cad._raise(answer.error);
        delete from cad.resident_change as c where c.change_id = any(noted);
        update cad.resident as r
        set changes = (answer.reply -> 'changes')::bigint, parts = (answer.reply -> 'parts')::bigint
        where r.space = held.space;
    end if;
    update cad.resident as r set refreshed_at = clock_timestamp() where r.space = held.space;
    return coalesce(cardinality(noted), 0);
end
$$;

comment on function cad._refresh_resident_step(text, integer) is
'Tells the encoder service of so many changes; returns of how many it did.';

-- Commits after every batch, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.refresh_resident(space text default 'cad')
language plpgsql
as $$
declare
    most constant integer := 10000;
    told integer;
begin
    call cad._refuse_in_transaction('cad.refresh_resident()', 'after every batch');
    loop
        told := cad._refresh_resident_step(space, most);
        commit;
        exit when told operator(pg_catalog.<) most;
    end loop;
end
$$;

comment on procedure cad.refresh_resident is
'Tells the encoder service what has changed in a space that is resident. Searches find changes before as well, the slower '
'the more there are: call it from a scheduler.';

create or replace function cad.drop_resident(space text default 'cad') returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    held cad.resident;
    present regclass;
    answer record;
begin
    perform cad._check_space(space);
    select s.vectors into strict present from cad.space as s where s.name = drop_resident.space;
    delete from cad.resident as r where r.space = drop_resident.space returning r.* into held;
    perform cad._drop_resident_trigger(t.vectors) from (select present union select held.vectors) as t (vectors);
    delete from cad.resident_change as c where c.vectors in (present, held.vectors);
    if held.generation is null then
        return;
    end if;
    select * into answer
    from cad._resident_request('resident_drop', jsonb_build_object('generation', held.generation));
    if answer.error is not null then
        raise warning 'the encoder service could not be told: %', answer.error ->> 'message'
            using hint = 'If it still runs, its memory is free when it is restarted or the space is loaded again.';
    end if;
exception when lock_not_available then
    raise exception 'the vectors of space % are in use', space
        using errcode = 'lock_not_available', hint = 'Call cad.drop_resident again when the searches at work now are done.';
end
$$;

comment on function cad.drop_resident(text) is
'Takes the vectors of a space out of the encoder service; searches go by indexes again, and changes are noted no more.';
