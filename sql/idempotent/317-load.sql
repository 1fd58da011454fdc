-- Large loads. A vector that is put into a standing HNSW index costs several times what it costs to build the index of
-- all of them at once. So a load goes into a table without one, and cad.finish_load makes new tables of what was there
-- and what was staged, indexes them, proves the indexes and exchanges old and new as cad.reembed does: a search sees
-- the old vectors with the old index, or the new ones with the new index.
--
-- Whoever writes meanwhile does not wait: triggers note the parts whose vectors change, and these are copied once more,
-- the last few under the lock of the exchange. Notes are only ever added and taken away whole, never merged: one that
-- is not yet committed is found the next time.

create or replace function cad._staged(space text) returns regclass
language plpgsql stable strict parallel safe
set search_path from current
as $$
begin
    return to_regclass(format('cad.%I', 'space_' || space || '_staged'));
end
$$;

comment on function cad._staged(text) is 'Where the vectors of a load are staged that was begun; null where none was.';

create or replace function cad._refuse_while_loaded(space text) returns void
language plpgsql stable parallel unsafe
set search_path from current
as $$
begin
    if cad._staged(space) is not null then
        raise exception 'a load into space % was begun', space
            using errcode = '55000', hint = format(
                'End it first: call cad.finish_load(%L); or, to give it up, select cad.cancel_load(%L);', space, space
            );
    end if;
end
$$;

comment on function cad._refuse_while_loaded(text) is 'Refuses (55000) to make the vectors of a space anew while a load is open.';

create or replace function cad.begin_load(space text) returns regclass
language plpgsql volatile parallel unsafe security definer
set search_path from current
set lock_timeout = '2s' -- a foreign key locks cad.model, and whoever comes after waits behind this
as $$
declare
    staged constant text := 'space_' || space || '_staged';
    vectors regclass;
    given record;
begin
    perform cad._check_space(space);
    perform cad._refuse_while_reembedded(space);
    select s.vectors into vectors from cad.space as s where s.name = begin_load.space for no key update;
    if cad._staged(space) is not null then
        return cad._staged(space);
    end if;
    if to_regclass(format('cad.%I', 'space_' || space || '_next')) is not null
        or to_regclass(format('cad.%I', 'space_' || space || '_previous')) is not null then
        raise exception 'space % has other vectors beside those in use', space
            using errcode = '55000', hint = 'select * from cad.doctor(); tells which, and how to end that.';
    end if;
    execute format(
        'create table cad.%I (
            like %s including comments including storage,
            primary key (model_id),
            foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
        )', staged, vectors
    );
    execute format(
        'comment on table cad.%I is %L', staged,
        format('Vectors to be loaded into space %s; cad.finish_load(%L) puts them into use.', space, space)
    );
    for given in
        select distinct a.grantee
        from pg_class as c, aclexplode(c.relacl) as a
        where c.oid = vectors and a.privilege_type = 'INSERT' and a.grantee <> c.relowner and a.grantee <> 0
    loop
        execute format('grant insert on cad.%I to %s', staged, given.grantee::regrole);
    end loop;
    return cad._staged(space);
exception when lock_not_available then
    raise exception 'cad.model is locked by other sessions'
        using errcode = 'lock_not_available', hint = 'Nothing was begun. Call cad.begin_load again when they are done.';
end
$$;

comment on function cad.begin_load(text) is
'Begins a large load into a space. Returns the table that takes the vectors, with the columns of the space''s own and '
'without an index: copy into it, or let cad.ingest_pending fill it. Searches see them after cad.finish_load(space).';

create or replace function cad._note_part() returns trigger
language plpgsql security definer
set search_path from current
as $$
begin
    execute format('insert into cad.%I (model_id) select unnest($1)', tg_argv[0])
    using array[case when tg_op <> 'DELETE' then new.model_id end, case when tg_op <> 'INSERT' then old.model_id end];
    return null;
end
$$;

comment on function cad._note_part() is 'Notes a part whose vectors have changed while those of its space are being copied.';

create or replace function cad._watch_changes(space text, watched regclass) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
begin
    execute format(
        'create trigger note_part after insert or update or delete on %s for each row execute function cad._note_part(%L)',
        watched, 'space_' || space || '_next_changed'
    );
end
$$;

comment on function cad._watch_changes(text, regclass) is 'Notes from now on which parts of a table of vectors change.';

create or replace function cad._forget_load(space text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    watched record;
begin
    for watched in
        select t.tgrelid::regclass as vectors
        from pg_trigger as t
        inner join cad.space as s on t.tgrelid in (s.vectors, cad._staged(s.name))
        where s.name = _forget_load.space and t.tgname = 'note_part'
    loop
        execute format('drop trigger note_part on %s', watched.vectors);
    end loop;
    if to_regclass(format('cad.%I', 'space_' || space || '_next_changed')) is not null then
        execute format('drop table cad.%I', 'space_' || space || '_next_changed');
    end if;
end
$$;

comment on function cad._forget_load(text) is 'Notes no changes any more, and forgets those noted.';

create or replace function cad._check_load(stored cad.space) returns text
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    staged constant regclass := cad._staged(stored.name);
    versions text[];
    needed bigint;
begin
    if staged is null then
        raise exception 'no load into space % was begun', stored.name
            using errcode = '22023', hint = format('Begin with: select cad.begin_load(%L);', stored.name);
    end if;
    execute format('select array_agg(distinct s.encoder_version) from %s as s', staged) into versions;
    if versions is null then
        raise exception 'nothing is staged for space %', stored.name
            using errcode = '22023', hint = format('Copy vectors into %s, or: select cad.cancel_load(%L);', staged, stored.name);
    end if;
    if cardinality(versions) > 1 or versions[1] <> coalesce(stored.encoder_version, versions[1]) then
        raise exception 'vectors of % are staged, those of space % are of %', array_to_string(versions, ', '), stored.name,
            coalesce(stored.encoder_version, 'one encoder')
            using errcode = '55000', hint = format(
                'Delete the others from %s, or give up this load: select cad.cancel_load(%L);', staged, stored.name
            );
    end if;
    select pg_table_size(staged) + sum(pg_table_size(i.inhrelid)) into needed
    from pg_inherits as i
    where i.inhparent = stored.vectors;
    if needed > cad._disk_free_bytes() then
        raise exception 'old and staged vectors of space % together take %, more than the % that are free',
            stored.name, pg_size_pretty(needed), pg_size_pretty(cad._disk_free_bytes())
            using errcode = '53100', hint = 'Make room: both stay until the new ones are in use.';
    end if;
    return versions[1];
end
$$;

comment on function cad._check_load(cad.space) is
'Refuses a load that was not begun or is empty (22023), of another encoder (55000) or without room (53100); else its version.';

create or replace function cad._begin_copy(stored cad.space, wanted text) returns uuid
language plpgsql volatile parallel unsafe
set search_path from current
set lock_timeout = '2s'
as $$
declare
    reached uuid;
begin
    perform from cad.space as s where s.name = stored.name for no key update;
    if (
        select count(*) < 2
        from pg_trigger as t
        where t.tgname = 'note_part' and t.tgrelid in (stored.vectors, cad._staged(stored.name))
    ) then -- what an earlier call left cannot be trusted, after a restore, say
        perform cad._forget_load(stored.name);
        perform cad._drop_vectors(stored.name || '_next');
        execute format('create table cad.%I (model_id uuid)', 'space_' || stored.name || '_next_changed');
        perform cad._watch_changes(stored.name, stored.vectors);
        perform cad._watch_changes(stored.name, cad._staged(stored.name));
    end if;
    perform cad._begin_next(stored, wanted, with_views => false);
    execute format('select n.model_id from cad.%I as n order by n.model_id desc limit 1', 'space_' || stored.name || '_next')
    into reached;
    return coalesce(reached, uuid '00000000-0000-0000-0000-000000000000');
end
$$;

comment on function cad._begin_copy(cad.space, text) is
'Makes the next tables of a space, or finds those of an earlier call: the part that these have come to. From now on it is '
'noted what changes.';

create or replace function cad._parts_to_copy(stored cad.space, after uuid, most integer) returns uuid[]
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    parts uuid[];
begin
    execute format($query$
        select array(
            (select v.model_id from %s as v where v.model_id > $1 order by v.model_id limit $2)
            union
            (select v.model_id from %s as v where v.model_id > $1 order by v.model_id limit $2)
            order by model_id
            limit $2
        )
    $query$, stored.vectors, cad._staged(stored.name))
    into parts
    using after, most;
    return parts;
end
$$;

comment on function cad._parts_to_copy(cad.space, uuid, integer) is 'Parts behind a given one, in order, in use or staged.';

create or replace function cad._copy_parts(stored cad.space, parts uuid[]) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    next constant regclass := format('cad.%I', 'space_' || stored.name || '_next')::regclass;
    staged constant regclass := cad._staged(stored.name);
begin
    -- Parts that went away meanwhile drop out, and the others stay as they are until the commit. Locked before their
    -- vectors, which is the order of whoever deletes a part.
    perform from cad.model as m where m.model_id = any(parts) order by m.model_id for key share;
    execute format('delete from %s where model_id = any($1)', next) using parts;
    execute format('insert into %s select s.* from %s as s where s.model_id = any($1)', next, staged) using parts;
    execute format(
        'insert into %s select v.* from %s as v where v.model_id = any($1)
        and not exists (select from %s as s where s.model_id = v.model_id)', next, stored.vectors, staged
    ) using parts;
end
$$;

comment on function cad._copy_parts(cad.space, uuid[]) is
'Makes the next vectors of some parts equal to those staged, or where none are, to those in use.';

create or replace function cad._copy_changed(stored cad.space) returns bigint
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    parts uuid[];
begin
    execute format(
        'with seen as (delete from cad.%I returning model_id) select array_agg(distinct s.model_id) from seen as s',
        'space_' || stored.name || '_next_changed'
    ) into parts;
    if parts is not null then
        perform cad._copy_parts(stored, parts);
    end if;
    return coalesce(cardinality(parts), 0);
end
$$;

comment on function cad._copy_changed(cad.space) is 'Copies the parts again that changed since they were copied: how many.';

create or replace function cad._prove_next(stored cad.space, least_recall real) returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    select cad._prove_index(
        stored.name, made.index,
        cad._predecessor(stored.name, made.index, made.kind, made.dim, cad._serving_name(stored.name, made.partition)),
        least_recall
    )
    from cad._standing_indexes(format('cad.%I', 'space_' || stored.name || '_next')::regclass) as made
$$;

comment on function cad._prove_next(cad.space, real) is
'Refuses (55000) next vectors with an index that finds less than the one in use, or than the recall that is asked for.';

create or replace function cad._exchange_load(stored cad.space, wanted text, most integer) returns xid
language plpgsql volatile parallel unsafe
set search_path from current
set lock_timeout = '2s'
set deadlock_timeout = '100ms' -- whom others wait for and who waits for them gives way here, not there
as $$
declare
    next constant regclass := format('cad.%I', 'space_' || stored.name || '_next')::regclass;
    waiting bigint;
begin
    -- In the order in which ingest takes its locks: it keeps the row of the space until its parts are stored.
    perform from cad.space as s where s.name = stored.name for no key update;
    lock table cad.model in share row exclusive mode;
    execute format('lock table %s, %s in share row exclusive mode', stored.vectors, cad._staged(stored.name));
    execute format(
        'select count(*) from (select from cad.%I limit $1) as c', 'space_' || stored.name || '_next_changed'
    ) into waiting using most + 1;
    if waiting > most then
        return null;
    end if;
    perform cad._copy_changed(stored);
    perform cad._forget_load(stored.name);
    perform cad._exchange_vectors(stored.name);
    update cad.space set encoder_version = wanted, vectors = next where name = stored.name;
    execute format('drop table %s', cad._staged(stored.name));
    return pg_current_xact_id()::xid;
end
$$;

comment on function cad._exchange_load(cad.space, text, integer) is
'With writers kept away: copies the last few changes and exchanges old and new vectors; the transaction that did. Null where '
'there are more than so many: then others should not wait for it.';

create or replace function cad._is_seen_by_all(change xid) returns boolean
language plpgsql volatile strict parallel unsafe
set search_path from current
as $$
begin
    return not exists (
        select from pg_stat_activity as a
        where a.datname = current_database() and a.pid <> pg_backend_pid() and age(a.backend_xmin) >= age(change)
    );
end
$$;

comment on function cad._is_seen_by_all(xid) is 'Whether no session has a snapshot from before a transaction.';

create or replace function cad._load_step(
    space text, least_recall real, inout phase text, inout wanted text, inout after uuid, inout exchanged xid,
    inout copied bigint, inout tries integer, inout rounds integer, out pause_s double precision, out failure jsonb
)
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    batch constant integer := 5000;
    stored cad.space;
    parts uuid[];
    advice text;
    details text;
begin
    pause_s := 0;
    select * into stored from cad.space as s where s.name = _load_step.space;
    if phase = 'begin' then
        if not least_recall between 0 and 1 then
            raise exception 'least_recall is %, which is not between 0 and 1', least_recall
                using errcode = '22023', hint = 'Give a share such as 0.95, or leave it out.';
        end if;
        wanted := cad._check_load(stored);
        after := cad._begin_copy(stored, wanted);
        phase := 'copy';
    elsif phase = 'copy' then
        parts := cad._parts_to_copy(stored, after, batch);
        if parts <> '{}' then
            perform cad._copy_parts(stored, parts);
            copied := copied + cardinality(parts);
            after := parts[cardinality(parts)];
        else
            phase := 'index';
        end if;
    elsif phase = 'index' then
        perform cad._check_room(i.inhrelid, kind.key, kind.value, stored.dim)
        from pg_inherits as i
        cross join jsonb_each(stored.config -> 'indexes') as kind
        where i.inhparent = format('cad.%I', 'space_' || space || '_next')::regclass
            and not exists (select from cad._standing_indexes(i.inhparent) as x where x.partition = i.inhrelid);
        if not cad._index_next(space) then
            phase := 'catch up';
        end if;
    elsif phase = 'catch up' then
        if cad._copy_changed(stored) <= batch then
            phase := case rounds when 0 then 'prove' else 'exchange' end;
        end if;
    elsif phase = 'prove' then
        perform cad._prove_next(stored, least_recall);
        phase := 'exchange';
    elsif phase = 'exchange' then
        -- Whoever writes without a pause is waited for in vain: the exchange copies twice as many from time to time.
        exchanged := cad._exchange_load(stored, wanted, (batch * 2 ^ least(rounds, 10))::integer);
        phase := case when exchanged is null then 'catch up' else 'tidy' end;
        rounds := rounds + (exchanged is null)::integer;
    elsif not cad._is_seen_by_all(exchanged) then -- phase tidy: somebody may still look for the old ones
        raise lock_not_available;
    else
        perform cad._drop_vectors(space || '_previous');
        phase := 'done';
    end if;
    tries := 0;
exception
    when lock_not_available or deadlock_detected or serialization_failure then
        tries := tries + 1;
        pause_s := 0.5;
        if tries >= 20 and phase = 'tidy' then
            raise notice 'old snapshots may still need the vectors from before the load: they stay in cad.%',
                'space_' || space || '_previous'
                using hint = format('Later: select cad.drop_previous(%L);', space);
            phase := 'done';
        elsif tries >= 20 then
            failure := jsonb_build_object(
                'sqlstate', '55P03', 'message', format('the tables of space %s are locked by other sessions', space),
                'hint', format('What is done is kept. When they are done, call cad.finish_load(%L) again.', space)
            );
        end if;
    when query_canceled or others then
        get stacked diagnostics advice = pg_exception_hint, details = pg_exception_detail;
        failure := jsonb_build_object(
            'sqlstate', sqlstate, 'message', sqlerrm, 'detail', details, 'hint', concat_ws(
                ' ', nullif(advice, ''), case
                    when phase = 'prove' then format(
                        'To take the new one as it is: call cad.finish_load(%L, least_recall => …); to give up: '
                        'select cad.cancel_load(%L);', space, space
                    )
                    when phase <> 'begin' then format(
                        'Searches go on as before, and what is done is kept: call cad.finish_load(%L) goes on from there.', space
                    )
                end
            )
        );
end
$$;

comment on function cad._load_step(text, real, text, text, uuid, xid, bigint, integer, integer) is
'One transaction of cad.finish_load, and where the next one goes on. A failure is returned, so that the lock can be let go.';

-- Commits after every step, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.finish_load(space text, least_recall real default null)
language plpgsql
as $$
declare
    step record;
begin
    call cad._refuse_in_transaction('cad.finish_load()', 'after every step');
    perform cad._claim_space(space);
    step := cad._load_step(space, least_recall, 'begin', null, null, null, 0, 0, 0);
    loop
        commit;
        exit when step.failure is not null or step.phase operator(pg_catalog.=) 'done';
        perform pg_catalog.pg_sleep(step.pause_s);
        step := cad._load_step(
            space, least_recall, step.phase, step.wanted, step.after, step.exchanged, step.copied, step.tries, step.rounds
        );
    end loop;
    perform pg_catalog.pg_advisory_unlock(cad._space_key(space));
    perform cad._raise(step.failure);
end
$$;

comment on procedure cad.finish_load is
'Puts the vectors of a load into use: copies them beside those of the space, indexes all of them and exchanges old and new in '
'one short transaction. First the new indexes must find what cad.tune was asked for, or what the old ones find, or '
'least_recall of the ten nearest. Searches and writers go on. Call it again to go on after an interruption.';

create or replace function cad.cancel_load(space text) returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
set lock_timeout = '2s'
as $$
begin
    perform cad._check_space(space);
    if cad._staged(space) is null then
        raise exception 'no load into space % was begun', space
            using errcode = '22023', hint = 'select * from cad.doctor(); names those that were.';
    end if;
    if not pg_try_advisory_xact_lock(cad._space_key(space)) then
        raise exception 'the load into space % is at work', space
            using errcode = '55006', hint = 'Cancel that call first: pg_stat_activity has it.';
    end if;
    perform from cad.space as s where s.name = cancel_load.space for no key update;
    perform cad._forget_load(space);
    perform cad._drop_vectors(space || '_next');
    execute format('drop table %s', cad._staged(space));
exception when lock_not_available then
    raise exception 'the vectors of space % are in use', space
        using errcode = 'lock_not_available', hint = 'Nothing was dropped. Try again when the searches and loads at work are done.';
end
$$;

comment on function cad.cancel_load(text) is 'Gives up a load: drops what was staged and what cad.finish_load has made of it.';
