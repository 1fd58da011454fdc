-- Embedding spaces and their partitions.

create or replace function cad._create_vector_index(space text, vectors text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    m integer;
    ef_construction integer;
begin
    select (s.config #>> '{hnsw,m}')::integer, (s.config #>> '{hnsw,ef_construction}')::integer
    into strict m, ef_construction
    from cad.space as s
    where s.name = space;
    -- pgvector before 0.8.2 may overflow a buffer when it builds in parallel.
    if (select string_to_array(e.extversion, '.')::integer[] < '{0,8,2}' from pg_extension as e where e.extname = 'vector') then
        perform set_config('max_parallel_maintenance_workers', '0', true);
    end if;
    execute format(
        'create index on cad.%I using hnsw (fused_vec halfvec_cosine_ops) with (m = %s, ef_construction = %s)',
        vectors, m, ef_construction
    );
end
$$;

comment on function cad._create_vector_index(text, text) is
'Indexes fused_vec of a table of vectors with the parameters of its space.';

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

create or replace function cad.add_space(name text, dim integer) returns regclass
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    vectors text := format('space_%s', add_space.name);
begin
    if add_space.name is null or dim is null then
        raise exception 'a space needs a name and a number of dimensions'
            using errcode = 'null_value_not_allowed', hint = 'For example cad.add_space(''siglip'', 768).';
    end if;
    if add_space.name !~ '^[a-z][a-z0-9_]{0,31}$' then
        raise exception 'a space cannot be named %', quote_literal(left(add_space.name, 100))
            using errcode = 'invalid_parameter_value',
                hint = 'Take a lower-case letter, then at most 31 lower-case letters, digits and underscores.';
    end if;
    if dim not between 1 and 4000 then
        raise exception 'a space cannot have % dimensions', dim
            using errcode = 'invalid_parameter_value', hint = 'From 1 to 4000, which is what an HNSW index on halfvec takes.';
    end if;
    if to_regclass('cad.' || vectors) is not null or to_regclass(format('cad.%s_default', vectors)) is not null then
        raise exception 'there is a table cad.% or cad.%_default already', vectors, vectors
            using errcode = '42710', hint = 'Take another name; select * from cad.space; lists the spaces.';
    end if;
    insert into cad.space (name, dim) values (add_space.name, add_space.dim);
    execute format(
        'create table cad.%I (
            model_id uuid not null,
            family text not null,
            text_vec halfvec(%s),
            image_vec halfvec(%s),
            shape_vec halfvec(%s),
            fused_vec halfvec(%s) not null,
            encoder_version text not null,
            foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
        ) partition by list (family)', vectors, dim, dim, dim, dim
    );
    execute format(
        'alter table cad.%I
        alter text_vec set storage main,
        alter image_vec set storage main,
        alter shape_vec set storage main,
        alter fused_vec set storage main', vectors
    );
    execute format(
        'create table cad.%I partition of cad.%I (primary key (model_id, family)) default', vectors || '_default', vectors
    );
    perform cad._create_vector_index(add_space.name, vectors || '_default');
    perform cad._share_grants('cad.space_cad', format('cad.%I', vectors)::regclass);
    return format('cad.%I', vectors)::regclass;
end
$$;

comment on function cad.add_space(text, integer) is
'Registers an embedding space and makes its partitioned table cad.space_<name>, which it returns.';
