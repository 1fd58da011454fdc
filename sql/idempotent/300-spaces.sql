-- Embedding spaces and their partitions.

create or replace function cad._hnsw_options(space text) returns text
language sql stable strict parallel safe
set search_path from current
as $$
    select format('m = %s, ef_construction = %s', s.config #>> '{hnsw,m}', s.config #>> '{hnsw,ef_construction}')
    from cad.space as s
    where s.name = space
$$;

comment on function cad._hnsw_options(text) is 'Storage parameters of the HNSW indexes of a space.';

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
        execute format('grant %s on %s to %s', given.privilege_type, target, given.grantee::regrole);
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
    insert into cad.space (name, dim) values (add_space.name, add_space.dim);
    execute format(
        'create table cad.%1$I (
            model_id uuid not null,
            family text not null,
            text_vec halfvec(%2$s),
            image_vec halfvec(%2$s),
            shape_vec halfvec(%2$s),
            fused_vec halfvec(%2$s) not null,
            encoder_version text not null,
            primary key (model_id, family),
            foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
        ) partition by list (family)', vectors, dim
    );
    execute format('create table cad.%I partition of cad.%I default', vectors || '_default', vectors);
    execute format(
        'create index on cad.%I using hnsw (fused_vec halfvec_cosine_ops) with (%s)',
        vectors, cad._hnsw_options(add_space.name)
    );
    perform cad._share_grants('cad.space_cad', format('cad.%I', vectors)::regclass);
    return format('cad.%I', vectors)::regclass;
end
$$;

comment on function cad.add_space(text, integer) is
'Registers an embedding space and makes its partitioned table cad.space_<name>, which it returns.';
