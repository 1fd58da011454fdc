-- New tables of vectors beside the old ones, and the exchange of the two. The registry cad.space names its tables by
-- identity and every search reads it first, so a search finds the tables of its own snapshot: the old or the new ones,
-- never some of both. cad.finish_load does the same with the vectors and leaves those of the views where they are.

create or replace function cad._promoted_families(vectors regclass) returns text[]
language sql stable strict parallel safe
set search_path from current
as $$
    select coalesce(array_agg(replace(bound.value, '''''', '''') order by bound.value), '{}')
    from pg_inherits as i
    inner join pg_class as c on c.oid = i.inhrelid
    cross join lateral (
        select (regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES IN \(''(.*)''\)$'))[1] as value
    ) as bound
    where i.inhparent = vectors and bound.value is not null
$$;

comment on function cad._promoted_families(regclass) is 'The families that have a partition of their own.';

create or replace function cad._split_off(stem text, family text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    partition constant text := cad._partition_name(stem, family);
begin
    execute format('create table cad.%I (like cad.%I including storage)', partition, 'space_' || stem);
    perform cad._create_keys(partition);
    execute format(
        'with moved as (delete from cad.%I where family = $1 returning *) insert into cad.%I select * from moved',
        'space_' || stem || '_default', partition
    ) using family;
    execute format('alter table cad.%I attach partition cad.%I for values in (%L)', 'space_' || stem, partition, family);
end
$$;

comment on function cad._split_off(text, text) is 'Gives a family its own partition in tables that nobody searches yet.';

create or replace function cad._drop_vectors(stem text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
set lock_timeout = '2s' -- dropping a foreign key locks cad.model too, and whoever comes after waits behind this
as $$
begin
    if to_regclass(format('cad.%I', 'space_' || stem)) is not null then
        execute format('drop table cad.%I', 'space_' || stem);
    end if;
    if to_regclass(format('cad.%I', 'space_' || stem || '_view')) is not null then
        execute format('drop table cad.%I', 'space_' || stem || '_view');
    end if;
end
$$;

comment on function cad._drop_vectors(text) is
'Drops the tables cad.space_<stem> and cad.space_<stem>_view where they are there.';

create or replace function cad._begin_next(stored cad.space, wanted text, with_views boolean default true) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    stem constant text := stored.name || '_next';
    kept_version text;
    family text;
begin
    if to_regclass(format('cad.%I', 'space_' || stored.name || '_previous')) is not null then
        raise exception 'space % still has the vectors before the last exchange, in cad.%',
            stored.name, 'space_' || stored.name || '_previous'
            using errcode = '55000', hint = format('Drop them first: select cad.drop_previous(%L);', stored.name);
    end if;
    if to_regclass(format('cad.%I', 'space_' || stem)) is not null then
        execute format('select v.encoder_version from cad.%I as v limit 1', 'space_' || stem) into kept_version;
        if kept_version <> wanted then
            perform cad._drop_vectors(stem);
        end if;
    end if;
    if to_regclass(format('cad.%I', 'space_' || stem)) is null then
        perform cad._create_vectors(stem, stored.dim, with_views);
    end if;
    foreach family in array cad._promoted_families(stored.vectors) loop
        if not cad._is_promoted(stem, family) then
            perform cad._split_off(stem, family);
        end if;
    end loop;
end
$$;

comment on function cad._begin_next(cad.space, text, boolean) is
'Makes the tables for the vectors of another encoder version, with the partitions of the present ones; those that an '
'earlier run of the same version left are kept.';

create or replace function cad._index_next(space text) returns boolean
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    next constant regclass := format('cad.%I', 'space_' || space || '_next')::regclass;
    leaf regclass;
    other regclass;
begin
    select i.inhrelid into leaf
    from cad.space as s
    cross join jsonb_each(s.config -> 'indexes') as wanted (kind, parameters)
    inner join pg_inherits as i on i.inhparent = next
    where s.name = _index_next.space and not exists (
        select from cad._standing_indexes(next) as x
        where x.partition = i.inhrelid and x.kind = wanted.kind and x.valid
            and cad._index_is_as_wanted(x.parameters, x.dim, wanted.parameters, s.dim, cad._parts_of(x.partition))
    )
    order by i.inhrelid::regclass::text
    limit 1;
    if leaf is null then
        return false;
    end if;
    for other in select x.index from cad._standing_indexes(next) as x where x.partition = leaf loop
        execute format('drop index %s', other); -- of an earlier call: the space wants others now
    end loop;
    perform cad._create_vector_indexes(space, c.relname) from pg_class as c where c.oid = leaf;
    execute format('analyze %s', leaf);
    return true;
end
$$;

comment on function cad._index_next(text) is
'Indexes one more partition of the next vectors as the space wants it; false where every one has its indexes.';

create or replace function cad._rename_vectors(stem text, new_stem text, endings text[]) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    relation record;
begin
    for relation in
        with stored as (
            select format('cad.%I', 'space_' || stem || t.ending)::regclass::oid as oid
            from unnest(endings) as t (ending)
            union all
            select i.inhrelid
            from pg_inherits as i
            where i.inhparent = format('cad.%I', 'space_' || stem)::regclass
        ),

        named as (
            select stored.oid from stored
            union all
            select x.indexrelid from pg_index as x inner join stored on stored.oid = x.indrelid
        )

        select
            c.relname as old_name, c.relkind,
            'space_' || new_stem || substr(c.relname, 1 + length('space_' || stem)) as new_name
        from named
        inner join pg_class as c on c.oid = named.oid
        where starts_with(c.relname, 'space_' || stem)
    loop
        -- The name of an index that grows too long or is taken does not matter: it stays.
        continue when relation.relkind = 'i' and (
            length(relation.new_name) > 63 or to_regclass(format('cad.%I', relation.new_name)) is not null
        );
        execute format(
            'alter %s cad.%I rename to %I',
            case relation.relkind when 'i' then 'index' else 'table' end, relation.old_name, relation.new_name
        );
    end loop;
end
$$;

comment on function cad._rename_vectors(text, text, text[]) is
'Renames the tables of a space with these endings, partitions and indexes from cad.space_<stem>… to cad.space_<new stem>….';

create or replace function cad._policies(source regclass) returns text[]
language sql stable strict parallel safe
set search_path from current
as $$
    select array_agg(rule.statement)
    from (
        select format('alter table %s enable row level security', source) as statement
        from pg_class as c
        where c.oid = source and c.relrowsecurity
        union all
        select format('alter table %s force row level security', source)
        from pg_class as c
        where c.oid = source and c.relforcerowsecurity
        union all
        select format(
            'create policy %I on %s as %s for %s to %s', p.polname, source,
            case when p.polpermissive then 'permissive' else 'restrictive' end,
            case p.polcmd
                when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
            end,
            (
                select string_agg(case r.oid when 0 then 'public' else r.oid::regrole::text end, ', ')
                from unnest(p.polroles) as r (oid)
            )
        )
        || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
        || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
        from pg_policy as p
        where p.polrelid = source
    ) as rule
$$;

comment on function cad._policies(regclass) is
'Row level security of a table as statements, for the table that takes over its name.';

create or replace function cad._inherit_membership(source regclass, target regclass) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    dumped boolean;
begin
    select source = any(e.extconfig) into dumped
    from pg_extension as e
    inner join pg_depend as d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
    where e.extname = 'pgcad' and d.classid = 'pg_class'::regclass and d.objid = source;
    if not found then
        return; -- the tables of added spaces are dumped as what they are
    end if;
    execute format('alter extension pgcad drop table %s', source);
    execute format('alter extension pgcad add table %s', target);
    if dumped then -- what pg_extension_config_dump does, which works only while the extension is made
        update pg_extension
        set extconfig = array_append(extconfig, target::oid), extcondition = array_append(extcondition, '')
        where extname = 'pgcad';
    end if;
end
$$;

comment on function cad._inherit_membership(regclass, regclass) is
'Makes one table a member of the extension instead of another, dumped as that was: a restore fills the table that the '
'script makes under its name.';

create or replace function cad._exchange_vectors(space text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    previous constant text := space || '_previous';
    endings text[] := array[''];
    rules text[];
    rule text;
    ending text;
    shown text;
begin
    if to_regclass(format('cad.%I', 'space_' || space || '_next_view')) is not null then
        endings := array['', '_view'];
    end if;
    foreach ending in array endings loop
        execute format('lock table only cad.%I in access exclusive mode', 'space_' || space || ending);
        rules := rules || cad._policies(format('cad.%I', 'space_' || space || ending)::regclass);
    end loop;
    shown := pg_get_viewdef('cad.view'::regclass);
    perform cad._rename_vectors(space, previous, endings);
    perform cad._rename_vectors(space || '_next', space, endings);
    foreach ending in array endings || '_default'::text loop
        perform cad._inherit_membership(
            format('cad.%I', 'space_' || previous || ending)::regclass,
            format('cad.%I', 'space_' || space || ending)::regclass
        );
    end loop;
    foreach ending in array endings loop -- after that: a dump leaves out what a member had when it became one
        perform cad._share_grants(
            format('cad.%I', 'space_' || previous || ending)::regclass,
            format('cad.%I', 'space_' || space || ending)::regclass
        );
    end loop;
    foreach rule in array coalesce(rules, '{}') loop
        execute rule;
    end loop;
    if space = 'cad' and '_view' = any(endings) then -- a view follows a table through its renaming: this one must not
        execute 'create or replace view cad.view with (security_invoker = true) as ' || shown;
    end if;
end
$$;

comment on function cad._exchange_vectors(text) is
'Renames the tables of a space to previous and the next ones to theirs, which take over grants, policies and membership. '
'Where no next views were made, the present ones stay.';

create or replace function cad._finish_next(stored cad.space, wanted text, batch integer) returns boolean
language plpgsql volatile parallel unsafe
set search_path from current
set lock_timeout = '2s'
as $$
declare
    next constant regclass := format('cad.%I', 'space_' || stored.name || '_next')::regclass;
    next_views constant regclass := format('cad.%I', 'space_' || stored.name || '_next_view')::regclass;
    late uuid[];
begin
    -- In the order in which ingest takes its locks: it keeps the row of the space until its parts are stored.
    perform from cad.space as s where s.name = stored.name for update;
    lock table cad.model in share row exclusive mode;
    late := cad._parts_without_vectors(next, wanted, '00000000-0000-0000-0000-000000000000', batch + 1);
    if cardinality(late) > batch then
        return false;
    end if;
    if late <> '{}' then
        perform cad._embed_batch(stored, next, next_views, wanted, late);
    end if;
    perform cad._exchange_vectors(stored.name);
    update cad.space set encoder_version = wanted, vectors = next, views = next_views where name = stored.name;
    return true;
end
$$;

comment on function cad._finish_next(cad.space, text, integer) is
'With new parts kept away: makes the vectors of the last few and exchanges old and new. False where more than a batch '
'is missing: then others should not wait for it.';

create or replace function cad.drop_previous(space text) returns void
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
begin
    if not exists (select from cad.space as s where s.name = drop_previous.space)
        or to_regclass(format('cad.%I', 'space_' || space || '_previous')) is null then
        raise exception 'there are no previous vectors of space %', coalesce(quote_ident(left(space, 100)), 'null')
            using errcode = '22023', hint = 'select * from cad.doctor(); names those that there are.';
    end if;
    perform cad._refuse_while_reembedded(space);
    perform cad._drop_vectors(space || '_previous');
exception when lock_not_available then
    raise exception 'the previous vectors of space % are in use', space
        using errcode = 'lock_not_available', hint = 'Try again when the searches and loads at work now are done.';
end
$$;

comment on function cad.drop_previous(text) is
'Drops the vectors that a space had before the last cad.reembed, which keeps them until then.';
