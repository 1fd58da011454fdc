-- CALL cad.reembed(space): the vectors of a space by the encoder that the service runs now. Where that is the one that
-- made the present vectors, only what is missing is made, in place. Otherwise all of them are made beside the present
-- ones, indexed and put in their place in one transaction. Every batch is committed and what is there is kept, so a run
-- that was stopped goes on where it was.

create or replace function cad._claim_space(space text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    key constant bigint := cad._space_key(space);
    holder integer;
begin
    perform cad._check_space(space);
    select l.pid into holder
    from pg_locks as l
    where l.locktype = 'advisory' and l.objsubid = 1 and l.mode = 'ExclusiveLock' and l.granted
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
        and l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295;
    -- A run that was cancelled between two batches has left the lock with its session.
    if holder = pg_backend_pid() or pg_try_advisory_lock(key) then
        return;
    end if;
    raise exception 'the vectors of space % are being made by another session%', space, coalesce(
        ' (process ' || holder || ')', ''
    )
        using errcode = '55006', hint = 'Let it finish; pg_stat_activity tells what it does. If you end it, call again: '
        'that goes on from there.';
end
$$;

comment on function cad._claim_space(text) is
'Keeps other sessions from making the vectors of a space until this one lets go; refuses (55006) where one is at it.';

create or replace function cad._begin_reembed(
    space text, batch integer, out phase text, out wanted text, out was_empty boolean
)
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    stored cad.space;
begin
    if batch is null or batch not between 1 and 64 then
        raise exception 'batch cannot be %', coalesce(batch::text, 'null')
            using errcode = '22023', hint = 'It is the number of parts in one request and one transaction, from 1 to 64.';
    end if;
    perform cad._refuse_while_loaded(space);
    wanted := cad._service_version(space);
    select * into strict stored from cad.space as s where s.name = _begin_reembed.space;
    was_empty := stored.encoder_version is null;
    if stored.encoder_version = wanted then
        perform cad._drop_vectors(space || '_next');
        phase := 'fill';
    else
        perform cad._begin_next(stored, wanted);
        phase := 'build';
    end if;
end
$$;

comment on function cad._begin_reembed(text, integer) is
'What a run has to do: fill what is missing, or build the vectors of another encoder version.';

create or replace function cad._reembed_step(
    space text, batch integer, inout phase text, inout wanted text, inout after uuid, inout was_empty boolean,
    inout embedded bigint, inout tries integer, out pause_s double precision, out failure jsonb
)
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    first constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    stored cad.space;
    vectors regclass;
    views regclass;
    parts uuid[];
    advice text;
    details text;
begin
    pause_s := 0;
    if phase = 'begin' then
        select b.phase, b.wanted, b.was_empty into phase, wanted, was_empty from cad._begin_reembed(space, batch) as b;
        after := first;
        return;
    end if;
    select * into strict stored from cad.space as s where s.name = _reembed_step.space;
    if phase in ('fill', 'build') then
        vectors := stored.vectors;
        views := stored.views;
        if phase = 'build' then
            vectors := format('cad.%I', 'space_' || space || '_next')::regclass;
            views := format('cad.%I', 'space_' || space || '_next_view')::regclass;
        end if;
        parts := cad._parts_without_vectors(vectors, wanted, after, batch);
        if parts <> '{}' then
            perform cad._embed_batch(stored, vectors, views, wanted, parts);
            embedded := embedded + cardinality(parts);
            after := parts[cardinality(parts)];
        elsif after <> first then -- once more: parts that came meanwhile may stand before
            after := first;
        else
            phase := case phase when 'fill' then 'done' else 'index' end;
        end if;
    elsif phase = 'index' then
        if not cad._index_next(space) then
            phase := 'exchange';
        end if;
    elsif phase = 'exchange' then
        phase := case
            when not cad._finish_next(stored, wanted, batch) then 'build'
            when was_empty then 'tidy' -- nothing was there before that could be worth keeping
            else 'done'
        end;
    elsif phase = 'tidy' then
        perform cad._drop_vectors(space || '_previous');
        phase := 'done';
    end if;
    tries := 0;
exception
    when lock_not_available or deadlock_detected or serialization_failure then
        tries := tries + 1;
        pause_s := 0.5;
        if tries >= 20 then
            failure := jsonb_build_object(
                'sqlstate', '55P03', 'message', format('the tables of space %s are locked by other sessions', space),
                'hint', format('What is done is kept. When they are done, call cad.reembed(%L) again.', space)
            );
        end if;
    when query_canceled or others then
        get stacked diagnostics advice = pg_exception_hint, details = pg_exception_detail;
        failure := jsonb_build_object(
            'sqlstate', sqlstate, 'message', sqlerrm, 'detail', details, 'hint', concat_ws(
                ' ', nullif(advice, ''), case
                    when phase <> 'begin' then format('What is done is kept: call cad.reembed(%L) goes on from there.', space)
                end
            )
        );
end
$$;

comment on function cad._reembed_step(text, integer, text, text, uuid, boolean, bigint, integer) is
'One transaction of cad.reembed, and where the next one goes on. A failure is returned, so that the lock can be let go.';

-- Commits after every step, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.reembed(space text, batch integer default 32)
language plpgsql
as $$
declare
    step record;
begin
    call cad._refuse_in_transaction('cad.reembed()', 'after every batch');
    perform cad._claim_space(space);
    step := cad._reembed_step(space, batch, 'begin', null, null, null, 0, 0);
    loop
        commit;
        exit when step.failure is not null or step.phase operator(pg_catalog.=) 'done';
        perform pg_catalog.pg_sleep(step.pause_s);
        step := cad._reembed_step(
            space, batch, step.phase, step.wanted, step.after, step.was_empty, step.embedded, step.tries
        );
    end loop;
    perform pg_catalog.pg_advisory_unlock(cad._space_key(space));
    perform cad._raise(step.failure);
    raise notice 'space %: % parts embedded by %', space, step.embedded, step.wanted;
end
$$;

comment on procedure cad.reembed is
'Makes the vectors of a space by the encoder that the service runs now, committing after every batch (1 to 64 parts): '
'those that are missing, or all of them beside the present ones, which they then replace in one transaction. The present '
'ones are kept until cad.drop_previous(space). Call it again to go on after an interruption.';
