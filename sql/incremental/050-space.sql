-- Embedding spaces: a registry, and the vectors of the default space partitioned by family.
--
-- Keys and indexes stand on the partitions, not on the partitioned table: that table belongs to the extension, so a
-- restore has it before the promoted partitions, would give each of them its indexes when it attaches them, and would
-- then fail to create the dumped ones. The foreign key can stand above: pg_dump leaves inherited ones out.

create table cad.space (
    name text primary key check (name ~ '^[a-z][a-z0-9_]{0,31}$'),
    dim integer not null check (dim between 1 and 4000),
    metric text not null default 'cosine' check (metric = 'cosine'),
    encoder_version text,
    backend text not null default 'pgvector' check (backend = 'pgvector'),
    config jsonb not null default '{"hnsw": {"m": 16, "ef_construction": 100}}',
    created_at timestamptz not null default pg_catalog.now()
);

comment on table cad.space is 'Embedding spaces; the vectors of space x lie in table cad.space_x.';
comment on column cad.space.name is 'Name of the space.';
comment on column cad.space.dim is 'Dimensions; at most what an HNSW index on halfvec takes.';
comment on column cad.space.metric is 'Distance; vectors are unit length.';
comment on column cad.space.encoder_version is 'Encoder that made the vectors; null until the first part. Others are refused.';
comment on column cad.space.backend is 'Where the vectors are indexed.';
comment on column cad.space.config is 'Index parameters: hnsw.m and hnsw.ef_construction, taken by indexes made from now on.';
comment on column cad.space.created_at is 'When the space was added.';

create table cad.space_cad (
    model_id uuid not null,
    family text not null,
    text_vec halfvec(512),
    image_vec halfvec(512),
    shape_vec halfvec(512),
    fused_vec halfvec(512) not null,
    encoder_version text not null,
    foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
) partition by list (family);

comment on table cad.space_cad is 'Vectors of the default space, partitioned by family; unit length.';
comment on column cad.space_cad.model_id is 'The part.';
comment on column cad.space_cad.family is 'Family of the part; follows cad.model.';
comment on column cad.space_cad.text_vec is 'Vector of names and descriptions.';
comment on column cad.space_cad.image_vec is 'Normalised mean of the ten view vectors.';
comment on column cad.space_cad.shape_vec is 'Vector of the sampled points.';
comment on column cad.space_cad.fused_vec is 'All of them in one vector; the one with the index.';
comment on column cad.space_cad.encoder_version is 'Encoder that made the vectors.';

-- In the row, not beside it: a rerank reads four vectors of each of some hundred parts, and each look beside the row
-- costs as much as all the rest.
alter table cad.space_cad
alter column text_vec set storage main,
alter column image_vec set storage main,
alter column shape_vec set storage main,
alter column fused_vec set storage main;

create table cad.space_cad_default partition of cad.space_cad (primary key (model_id, family)) default;

comment on table cad.space_cad_default is 'Families that have no partition of their own.';

create index space_cad_default_fused_vec_idx on cad.space_cad_default
using hnsw (fused_vec halfvec_cosine_ops) with (m = 16, ef_construction = 100);

-- A restore puts its row where the script has already put the default one: an untouched row gives way.
create function cad._space_give_way() returns trigger
language plpgsql
set search_path from current
as $$
begin
    delete from cad.space where name = new.name and encoder_version is null;
    return new;
end
$$;

comment on function cad._space_give_way() is 'A space without parts gives way to a restored row of the same name.';

insert into cad.space (name, dim) values ('cad', 512);

create trigger give_way before insert on cad.space
for each row execute function cad._space_give_way();

select pg_catalog.pg_extension_config_dump('cad.space', '');
select pg_catalog.pg_extension_config_dump('cad.space_cad_default', '');
