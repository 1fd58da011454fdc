-- A large family gets its own partition and index while searches and loading go on: copy and index it beside the
-- default partition, then catch up and attach under locks that last as long as that takes. All of it is one
-- transaction: a search that began before and reaches the tables after would otherwise see the copied rows beside
-- those that were copied, each part twice.

create or replace function cad._partition_name(space text, family text) returns text
language sql immutable strict parallel safe
set search_path from current
as $$
    select format(
        'space_%s_%s_%s', space, left(regexp_replace(lower(family), '[^a-z0-9]+', '_', 'g'), 14), left(md5(family), 8)
    )
$$;

comment on function cad._partition_name(text, text) is 'Name of the partition of a family: readable, unique and safe.';

create or replace function cad._is_promoted(space text, family text) returns boolean
language sql stable strict parallel safe
set search_path from current
as $$
    select exists (
        select 1
        from pg_inherits as i
        inner join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = format('cad.%I', 'space_' || space)::regclass
            and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (''%s'')', replace(family, '''', ''''''))
    )
$$;

comment on function cad._is_promoted(text, text) is 'Whether a family has its own partition in a space.';

create or replace function cad._catch_up(space text, family text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    partition text := cad._partition_name(space, family);
    source text := format('space_%s_default', space);
begin
    execute format(
        'delete from cad.%I as p where not exists (
            select from cad.%I as d
            where d.model_id = p.model_id and d.family = p.family and row(d.*) is not distinct from row(p.*)
        )', partition, source
    );
    execute format(
        'insert into cad.%I select d.* from cad.%I as d where d.family = $1 and not exists (
            select from cad.%I as p where p.model_id = d.model_id
        )', partition, source, partition
    ) using family;
end
$$;

comment on function cad._catch_up(text, text) is
'Makes the prepared partition of a family equal to its rows in the default partition.';

create or replace function cad._scan_alike(space text, tuned text, partition text) returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    insert into cad.tuned_scan (
        space, version, vectors, kind, dim, setting, chosen, recall, recall_low, recall_tenth, recall_hundredth,
        setting_tenth, setting_hundredth, p50_ms, p95_ms, parts, cost_parts
    )
    select
        c.space, c.version, format('cad.%I', partition)::regclass::text, c.kind, c.dim, c.setting, c.chosen,
        c.recall, c.recall_low, c.recall_tenth, c.recall_hundredth, c.setting_tenth, c.setting_hundredth,
        c.p50_ms, c.p95_ms, c.parts, c.cost_parts
    from cad.tuned_scan as c
    inner join cad.tuning as t on t.space = c.space and t.version = c.version and t.in_force
    where c.space = _scan_alike.space and c.vectors = format('cad.%I', tuned)::regclass::text
    on conflict do nothing
$$;

comment on function cad._scan_alike(text, text, text) is
'Lets a new partition be scanned as the one that its parts come from was tuned, until cad.tune measures it: the settings '
'that found so much among many find no less among fewer.';

create or replace function cad._move_family(space text, family text) returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
set lock_timeout = '2s'
set deadlock_timeout = '100ms' -- whom others wait for and who waits for them gives way here, not there
as $$
declare
    partition constant text := cad._partition_name(space, family);
    source constant text := format('space_%s_default', space);
    gentle_tries constant integer := 5;
    most_tries constant integer := 20;
begin
    perform cad._refuse_while_reembedded(space);
    perform pg_advisory_xact_lock(hashtextextended(partition, 0));
    if cad._is_promoted(space, family) then
        return;
    end if;
    execute format('create table cad.%I (like cad.%I including defaults including storage)', partition, 'space_' || space);
    perform cad._create_keys(partition);
    perform cad._catch_up(space, family);
    perform cad._create_vector_indexes(space, partition);
    for tries in 1..most_tries loop
        begin
            perform cad._catch_up(space, family); -- of the index alone, before anybody waits
            -- Writers wait from here on, readers only for the attaching. In the order in which ingest takes its locks:
            -- attaching locks cad.model too, for the foreign key. Where there is always somebody who has read and is
            -- about to write, that never comes to an end: then readers wait, too, until none of those is left.
            if tries > gentle_tries then
                execute format('lock table cad.%I in access exclusive mode', source);
            end if;
            lock table cad.model in share row exclusive mode;
            execute format('lock table cad.%I in share row exclusive mode', source);
            perform cad._catch_up(space, family);
            execute format('delete from cad.%I where family = $1', source) using family;
            execute format('alter table cad.%I attach partition cad.%I for values in (%L)', 'space_' || space, partition, family);
            perform cad._scan_alike(space, source, partition);
            return;
        exception when lock_not_available or deadlock_detected then
            perform pg_sleep(case when tries < most_tries then 0.5 else 0 end);
        end;
    end loop;
    raise exception 'the rows of family % in space % are locked by other sessions', quote_literal(family), space
        using errcode = 'lock_not_available', hint = 'Nothing was changed there. Call cad.promote_family again when they are done.';
end
$$;

comment on function cad._move_family(text, text) is
'Gives a family its own partition in a space, in one transaction: searches that began before see none of its rows there.';

create or replace function cad._promotable(family text) returns text[]
language plpgsql stable parallel unsafe
set search_path from current
as $$
begin
    if not exists (select 1 from cad.model as m where m.family = _promotable.family) then
        raise exception 'no part has family %', coalesce(quote_literal(family), 'null')
            using errcode = 'invalid_parameter_value', hint = 'select family, parts from cad.family_summary; lists them.';
    end if;
    return array(select s.name from cad.space as s order by s.name);
end
$$;

comment on function cad._promotable(text) is 'The spaces a family is to be promoted in; refuses a family without parts.';

-- Commits after every space, so it cannot have a set clause: every name below is qualified.
create or replace procedure cad.promote_family(family text)
language plpgsql
as $$
declare
    space text;
begin
    call cad._refuse_in_transaction('cad.promote_family()', 'after every space');
    foreach space in array cad._promotable(family) loop
        perform cad._move_family(space, family);
        commit;
    end loop;
end
$$;

comment on procedure cad.promote_family is
'Gives a family its own partition and index in every space, online. Can be run again after an interruption.';
