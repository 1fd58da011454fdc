-- Embedding spaces: their tables and the partitions of these.

create or replace function cad._share_grants(source regclass, target regclass) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    given record;
begin
    for given in
        select distinct a.grantee, a.privilege_type
        from pg_class as c, aclexplode(c.relacl) as a
        where c.oid = source and a.grantee <> c.relowner and a.grantee <> 0
    loop
        execute format('grant %I on %s to %s', lower(given.privilege_type), target, given.grantee::regrole);
    end loop;
end
$$;

comment on function cad._share_grants(regclass, regclass) is 'Gives the roles that may use one table the same on another.';

create or replace function cad._space_key(space text) returns bigint
language sql immutable strict parallel safe
set search_path from current
as $$
    select hashtextextended('pgcad space ' || space, 0)
$$;

comment on function cad._space_key(text) is
'Advisory lock of a space: held alone while its vectors are made anew, shared while a family gets a partition of its own.';

create or replace function cad._refuse_while_reembedded(space text) returns void
language plpgsql volatile strict parallel unsafe
set search_path from current
as $$
begin
    if not pg_try_advisory_xact_lock_shared(cad._space_key(space)) then
        raise exception 'the vectors of space % are being made anew', space
            using errcode = '55006', hint = 'Try again when cad.reembed or pgcad import-vectors is done with it.';
    end if;
end
$$;

comment on function cad._refuse_while_reembedded(text) is
'Refuses (55006) to touch the tables of a space that cad.reembed or an import is at; keeps both away until the commit.';

create or replace function cad._create_vectors(stem text, dim integer, with_views boolean default true) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    vectors constant text := 'space_' || stem;
begin
    execute format(
        'create table cad.%I (
            like cad.space_cad including comments,
            constraint space_model_id_family_fkey
            foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
        ) partition by list (family)', vectors
    );
    execute format(
        'alter table cad.%I
        alter text_vec type halfvec(%s),
        alter image_vec type halfvec(%s),
        alter shape_vec type halfvec(%s),
        alter brep_vec type halfvec(%s),
        alter fused_vec type halfvec(%s)', vectors, dim, dim, dim, dim, dim
    );
    execute format(
        'alter table cad.%I
        alter text_vec set storage main,
        alter image_vec set storage main,
        alter shape_vec set storage main,
        alter brep_vec set storage main,
        alter fused_vec set storage main', vectors
    );
    execute format('comment on table cad.%I is %L', vectors, obj_description('cad.space_cad'::regclass, 'pg_class'));
    execute format(
        'create table cad.%I partition of cad.%I default', vectors || '_default', vectors
    );
    perform cad._create_keys(vectors || '_default');
    execute format(
        'create trigger note_change after insert or update or delete on cad.%I
        for each row execute function cad._note_change(''vectors'')', vectors
    );
    execute format(
        'create trigger hash_vector after insert or update of fused_vec on cad.%I
        for each row execute function cad._hash_vector()', vectors
    );
    execute format(
        'create trigger note_truncate after truncate on cad.%I
        for each statement execute function cad._note_change(''vectors'')', vectors
    );
    if not with_views then
        return;
    end if;
    execute format(
        'create table cad.%I (
            like cad.space_cad_view including comments including constraints,
            primary key (model_id, view),
            foreign key (model_id) references cad.model on delete cascade
        )', vectors || '_view'
    );
    execute format('alter table cad.%I alter vec type halfvec(%s)', vectors || '_view', dim);
    execute format(
        'create trigger note_change after insert or update or delete or truncate on cad.%I
        for each statement execute function cad._note_change(''vectors'')', vectors || '_view'
    );
    execute format(
        'comment on table cad.%I is %L', vectors || '_view', obj_description('cad.space_cad_view'::regclass, 'pg_class')
    );
end
$$;

comment on function cad._create_vectors(text, integer, boolean) is
'Makes the tables of a space, cad.space_<stem> and cad.space_<stem>_view, without an index on the vectors. Like those of '
'the default space, they note changes and keep codes current. Without views only the first of the two.';

create or replace function cad.add_space(
    name text, dim integer, backend text default 'external', encoder jsonb default '{}'
)
returns regclass
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    vectors text := format('space_%s', add_space.name);
    taken text;
begin
    if add_space.name is null or dim is null then
        raise exception 'a space needs a name and a number of dimensions'
            using errcode = 'null_value_not_allowed', hint = 'For example cad.add_space(''siglip'', 768).';
    end if;
    if add_space.name !~ '^[a-z][a-z0-9_]{0,22}$' or add_space.name ~ '(^|_)(default|next|previous|staged|view)$' then
        raise exception 'a space cannot be named %', quote_literal(left(add_space.name, 100))
            using errcode = 'invalid_parameter_value',
                hint = 'Take a lower-case letter, then at most 22 lower-case letters, digits and underscores; its tables '
                || 'take the endings _default, _next, _previous, _staged and _view.';
    end if;
    if dim not between 1 and 4000 then
        raise exception 'a space cannot have % dimensions', dim
            using errcode = 'invalid_parameter_value', hint = 'From 1 to 4000, which is what an HNSW index on halfvec takes.';
    end if;
    perform cad._check_encoder(backend, encoder, dim);
    select t.name into taken
    from unnest(array[vectors, vectors || '_default', vectors || '_view']) as t (name)
    where to_regclass('cad.' || t.name) is not null
    limit 1;
    if taken is not null then
        raise exception 'there is a table cad.% already', taken
            using errcode = '42710', hint = 'Take another name; select * from cad.space; lists the spaces.';
    end if;
    perform cad._create_vectors(add_space.name, dim);
    insert into cad.space (name, dim, backend, encoder, vectors, views)
    values (add_space.name, dim, backend, encoder, format('cad.%I', vectors), format('cad.%I', vectors || '_view'));
    perform cad._create_vector_indexes(add_space.name, vectors || '_default');
    perform cad._share_grants('cad.space_cad', format('cad.%I', vectors)::regclass);
    perform cad._share_grants('cad.space_cad_view', format('cad.%I', vectors || '_view')::regclass);
    return format('cad.%I', vectors)::regclass;
end
$$;

comment on function cad.add_space(text, integer, text, jsonb) is
'Registers an embedding space and makes its tables cad.space_<name>, which it returns, and cad.space_<name>_view. '
'Backend is what makes its vectors: native, open_clip or http, then call cad.reembed(name) fills it, or external, then '
'pgcad import-vectors does.';
