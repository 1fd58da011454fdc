-- Indexes are added, changed and dropped while searches go on. A new one is built partition after partition, each in a
-- transaction of its own; what it replaces is dropped when all of it stands and is proven, so there is an index at any
-- time, and none that finds less. While a partition is being indexed, whoever writes to it waits.

create or replace function cad._want_index(space text, kind text, parameters jsonb)
returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    stored cad.space;
    chosen jsonb;
begin
    perform cad._check_space(space);
    perform cad._refuse_while_reembedded(space);
    select s.* into stored from cad.space as s where s.name = _want_index.space;
    chosen := cad._index_parameters(kind, coalesce(parameters, stored.config -> 'indexes' -> kind, '{}'), stored.dim);
    perform cad._check_room(i.inhrelid, kind, chosen, stored.dim) from pg_inherits as i where i.inhparent = stored.vectors;
    update cad.space as s
    set config = jsonb_set(s.config, array['indexes', kind], chosen)
    where s.name = _want_index.space;
end
$$;

comment on function cad._want_index(text, text, jsonb) is
'Writes down that the partitions of a space are to have an index of a kind, if there is room for it.';

create or replace function cad._is_outgrown(standing text[], parts bigint)
returns boolean
language sql immutable parallel safe
set search_path from current
as $$
    select coalesce(bool_or(substr(p.parameter, 7)::integer < cad._lists(parts) / 2), false)
    from unnest(standing) as p (parameter)
    where p.parameter like 'lists=%'
$$;

comment on function cad._is_outgrown(text[], bigint) is
'Whether an index sorts its parts into less than half the lists that so many want: there were fewer by far when it was made.';

create or replace function cad._index_is_as_wanted(
    standing text[], dim integer, wanted jsonb, space_dim integer, parts bigint
)
returns boolean
language sql immutable parallel safe
set search_path from current
as $$
    select dim = coalesce((wanted -> 'dim')::integer, space_dim)
        and standing @> array(select format('%s=%s', p.key, p.value) from jsonb_each(wanted - 'dim') as p)
        and (wanted ? 'lists' or not cad._is_outgrown(standing, parts))
$$;

comment on function cad._index_is_as_wanted(text[], integer, jsonb, integer, bigint) is
'Whether an index that stands over so many parts has the parameters that are wanted, or that would be chosen for it.';

create or replace function cad._next_partition_to_index(space text, kind text)
returns text
language sql stable parallel safe
set search_path from current
as $$
    select c.relname
    from cad.space as s
    inner join pg_inherits as i on i.inhparent = s.vectors
    inner join pg_class as c on c.oid = i.inhrelid
    where s.name = _next_partition_to_index.space
        and s.config -> 'indexes' ? kind
        and not exists (
            select from cad._vector_indexes() as x
            where x.partition = c.oid and x.kind = _next_partition_to_index.kind and x.valid
                and cad._index_is_as_wanted(x.parameters, x.dim, s.config -> 'indexes' -> x.kind, s.dim, cad._parts_of(x.partition))
        )
    order by c.relname
    limit 1
$$;

comment on function cad._next_partition_to_index(text, text) is
'A partition that lacks the index of a kind that its space wants; null where none does.';

create or replace function cad._index_partition(
    space text, kind text, least_recall real, out made boolean, out failure jsonb
)
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    partition text;
    wanted jsonb;
begin
    perform cad._refuse_while_reembedded(space);
    perform pg_advisory_xact_lock(hashtextextended('pgcad indexes ' || space, 0)); -- two at once would build it twice
    partition := cad._next_partition_to_index(space, kind);
    made := partition is not null;
    if not made then
        return;
    end if;
    select s.config -> 'indexes' -> kind into wanted from cad.space as s where s.name = _index_partition.space;
    begin
        perform cad._create_vector_index(partition, kind, wanted, s.dim) from cad.space as s where s.name = _index_partition.space;
        perform cad._prove_successor(space, kind, partition, least_recall);
    exception when object_not_in_prerequisite_state then
        failure := jsonb_build_object('sqlstate', sqlstate, 'message', sqlerrm, 'hint', format(
            'The old one serves on, the new one is gone. Give a new one a larger m, ef_construction or dim, or take it as it is: '
            'call cad.add_index(%L, %L, …, least_recall => …);', space, kind
        ));
        perform cad._keep_old_indexes(space, kind, wanted);
    end;
end
$$;

comment on function cad._index_partition(text, text, real) is
'Makes the index of a kind on one more partition of a space; made is false where every one has it. One that finds less than '
'what it is to replace is a failure: what was made is dropped, the old ones serve on.';

create or replace function cad._other_kinds(kinds text[])
returns text[]
language sql immutable parallel safe
set search_path from current
as $$
    select array(select k.kind from cad._index_kind() as k where k.kind <> all(kinds))
$$;

comment on function cad._other_kinds(text[]) is 'All kinds of indexes but these.';

create or replace function cad._drop_indexes(space text, unwanted text[], tidied text[])
returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
set lock_timeout = '2s'
as $$
declare
    doomed record;
begin
    perform cad._refuse_while_reembedded(space);
    update cad.space as s
    set config = jsonb_set(s.config, '{indexes}', (s.config -> 'indexes') - unwanted)
    where s.name = _drop_indexes.space;
    for doomed in
        select x.index
        from cad._vector_indexes() as x
        inner join cad.space as s on s.name = x.space
        where x.space = _drop_indexes.space and (
            x.kind = any(unwanted)
            or x.kind = any(tidied) and not (
                x.valid and cad._index_is_as_wanted(x.parameters, x.dim, s.config -> 'indexes' -> x.kind, s.dim, cad._parts_of(x.partition))
            )
        )
    loop
        execute format('drop index %s', doomed.index);
    end loop;
exception when lock_not_available then
    raise exception 'the vectors of space % are locked by other sessions', space
        using errcode = 'lock_not_available',
            hint = 'Nothing was dropped, every index still serves. Try again when they are done.';
end
$$;

comment on function cad._drop_indexes(text, text[], text[]) is
'Drops the indexes of the unwanted kinds, and those of the tidied ones that are invalid or have other parameters than the '
'space wants.';

create or replace function cad.drop_index(space text, kind text)
returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
begin
    perform cad._check_space(space);
    perform cad._check_index_kind(kind);
    perform cad._drop_indexes(space, array[kind], '{}');
end
$$;

comment on function cad.drop_index(text, text) is
'Drops the indexes of a kind in a space: hnsw, prefix, bit or ivfflat. Without any index, searches compare every part.';

create or replace function cad._profile(name text)
returns jsonb
language plpgsql immutable parallel safe
set search_path from current
as $$
declare
    profiles constant jsonb := jsonb '{
        "growing": {"hnsw": {}},
        "fast": {"ivfflat": {"dim": 128}},
        "compact": {"ivfflat": {"dim": 96}}
    }';
begin
    if not coalesce(profiles ? name, false) then
        raise exception 'there is no profile %', coalesce(quote_literal(left(name, 100)), 'null')
            using errcode = '22023', hint = 'Take growing, fast or compact.';
    end if;
    return profiles -> name;
end
$$;

comment on function cad._profile(text) is
'The indexes of a profile. docs/results/index has the measurements that they were chosen by.';

create or replace function cad._prove_profile(space text, profile text, kinds text[], least_recall real)
returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
begin
    perform cad._prove_index(s.name, made.index, old.index, least_recall)
    from cad.space as s
    cross join cad._standing_indexes(s.vectors) as made
    cross join lateral (
        select other.index
        from cad._standing_indexes(s.vectors) as other
        where other.partition = made.partition and other.valid and other.kind <> all(kinds)
        order by cad._preference(other.kind)
        limit 1
    ) as old
    where s.name = _prove_profile.space and made.valid and made.kind = any(kinds)
        and cad._index_is_as_wanted(made.parameters, made.dim, s.config -> 'indexes' -> made.kind, s.dim, cad._parts_of(made.partition));
exception when object_not_in_prerequisite_state then
    raise exception '%', sqlerrm
        using errcode = '55000', hint = format(
            'Both stand, and the old one serves on. call cad.tune(%1$L) finds the setting that the new one needs: then call '
            'cad.use_profile(%1$L, %2$L) again. Or take it as it is: call cad.use_profile(%1$L, %2$L, least_recall => …);',
            space, profile
        );
end
$$;

comment on function cad._prove_profile(text, text, text[], real) is
'Refuses (55000) to let the indexes of other kinds go that stand beside those of a profile, where these find less.';

-- Procedures that commit cannot have a set clause: every name below is qualified.
create or replace procedure cad._add_index(space text, kind text, parameters jsonb, least_recall real)
language plpgsql
as $$
declare
    step record;
begin
    perform cad._want_index(space, kind, parameters);
    loop
        commit;
        step := cad._index_partition(space, kind, least_recall);
        exit when not step.made or step.failure is not null;
    end loop;
    commit;
    perform cad._raise(step.failure);
end
$$;

comment on procedure cad._add_index is 'Gives every partition of a space an index of a kind, committing after each.';

create or replace procedure cad.add_index(
    space text, kind text, parameters jsonb default null, least_recall real default null
)
language plpgsql
as $$
begin
    call cad._refuse_in_transaction('cad.add_index()', 'after every partition');
    call cad._add_index(space, kind, parameters, least_recall);
    perform cad._drop_indexes(space, '{}', array[kind]);
end
$$;

comment on procedure cad.add_index is
'Gives a space an index of a kind, hnsw, prefix, bit or ivfflat, such as call cad.add_index(''cad'', ''prefix'', '
'''{"dim": 128}''); without parameters as it is wanted already, or with the defaults. One of that kind with other '
'parameters serves until the new one stands and finds what cad.tune was asked for, or what the old one finds, or '
'least_recall of the ten nearest; then it is dropped. Call it again to go on after an interruption.';

create or replace procedure cad.use_profile(space text, profile text, least_recall real default null)
language plpgsql
as $$
declare
    wanted jsonb := cad._profile(profile);
    kinds text[] := array(select pg_catalog.jsonb_object_keys(wanted));
    kind text;
begin
    call cad._refuse_in_transaction('cad.use_profile()', 'after every partition');
    foreach kind in array kinds loop
        call cad._add_index(space, kind, wanted operator(pg_catalog.->) kind, least_recall);
    end loop;
    perform cad._prove_profile(space, profile, kinds, least_recall);
    perform cad._drop_indexes(space, cad._other_kinds(kinds), kinds);
end
$$;

comment on procedure cad.use_profile is
'Gives a space the indexes of a profile and, once these find as much or least_recall, drops its others: growing (a graph, '
'that every space begins with), fast (lists of the first 128 dimensions, made of the parts that are there, then all '
'dimensions for the best) or compact (of 96: less memory still).';
