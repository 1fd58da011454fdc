-- Embedding spaces: a registry, and the vectors of the default space partitioned by family.
--
-- Keys and indexes stand on the partitions, not on the partitioned table: that table belongs to the extension, so a
-- restore has it before the promoted partitions, would give each of them its indexes when it attaches them, and would
-- then fail to create the dumped ones. The foreign key can stand above: pg_dump leaves inherited ones out.
--
-- The registry names its tables by identity, not by name: when cad.reembed puts new tables in the place of old ones, a
-- search that began before still finds the old ones in the registry as it sees it, whatever they are called by then.

create table cad.space (
    name text primary key
    check (name ~ '^[a-z][a-z0-9_]{0,22}$' and name !~ '(^|_)(default|next|previous|staged|view)$'),
    dim integer not null check (dim between 1 and 4000),
    metric text not null default 'cosine' check (metric = 'cosine'),
    backend text not null check (backend in ('native', 'open_clip', 'http', 'external')),
    encoder jsonb not null default '{}' check (pg_catalog.jsonb_typeof(encoder) = 'object'),
    encoder_version text,
    vectors regclass not null unique,
    views regclass not null unique,
    config jsonb not null default '{"indexes": {"hnsw": {"m": 16, "ef_construction": 200}}}',
    created_at timestamptz not null default pg_catalog.now(),
    check ((name = 'cad') = (backend = 'native' and encoder = '{}')) -- the service has its encoder without being told
);

comment on table cad.space is 'Embedding spaces; the vectors of space x lie in tables cad.space_x and cad.space_x_view.';
comment on column cad.space.name is 'Name of the space.';
comment on column cad.space.dim is 'Dimensions; at most what an HNSW index on halfvec takes.';
comment on column cad.space.metric is 'Distance; vectors are unit length.';
comment on column cad.space.backend is 'What makes the vectors: native, open_clip, http, or external where they are imported.';
comment on column cad.space.encoder is 'What the backend must know, as cad.add_space took it; secrets are never here.';
comment on column cad.space.encoder_version is
'Encoder that made the vectors; null until the first part. Queries encoded by another are refused.';
comment on column cad.space.vectors is 'Table of the vectors.';
comment on column cad.space.views is 'Table of the vectors of views.';
comment on column cad.space.config is 'indexes: the kinds of indexes on fused_vec that a new partition gets, each with its parameters.';
comment on column cad.space.created_at is 'When the space was added.';

create table cad.space_cad (
    model_id uuid not null,
    family text not null,
    text_vec halfvec(512),
    image_vec halfvec(512),
    shape_vec halfvec(512),
    brep_vec halfvec(512),
    fused_vec halfvec(512),
    encoder_version text not null,
    text_md5 uuid,
    foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
) partition by list (family);

comment on table cad.space_cad is 'Vectors of a space, partitioned by family; unit length.';
comment on column cad.space_cad.model_id is 'The part.';
comment on column cad.space_cad.family is 'Family of the part; follows cad.model.';
comment on column cad.space_cad.text_vec is 'Vector of names and descriptions.';
comment on column cad.space_cad.image_vec is 'Normalised mean of the view vectors.';
comment on column cad.space_cad.shape_vec is 'Vector of the shape.';
comment on column cad.space_cad.brep_vec is
'Vector of the exact faces; null where the file had none, or where the shape is known by them already.';
comment on column cad.space_cad.fused_vec is
'All of them in one vector; the one with the index. Null where the encoder makes nothing of the part.';
comment on column cad.space_cad.encoder_version is 'Encoder that made the vectors.';
comment on column cad.space_cad.text_md5 is
'MD5 of the text that was embedded: another one than that of the part means that its text has changed since. Null where '
'that is not known.';

-- In the row, not beside it: a rerank reads five vectors of each of some hundred parts, and each look beside the row
-- costs as much as all the rest.
alter table cad.space_cad
alter column text_vec set storage main,
alter column image_vec set storage main,
alter column shape_vec set storage main,
alter column brep_vec set storage main,
alter column fused_vec set storage main;

create table cad.space_cad_default partition of cad.space_cad (primary key (model_id, family)) default;

comment on table cad.space_cad_default is 'Families that have no partition of their own.';

create index space_cad_default_model_id_idx on cad.space_cad_default using hash (model_id);

create index space_cad_default_fused_vec_idx on cad.space_cad_default
using hnsw (fused_vec halfvec_cosine_ops) with (m = 16, ef_construction = 200);

create table cad.space_cad_view (
    model_id uuid not null references cad.model on delete cascade,
    view smallint not null check (view >= 0),
    vec halfvec(512) not null,
    primary key (model_id, view)
);

comment on table cad.space_cad_view is 'Image vectors of the views of a part, unit length.';
comment on column cad.space_cad_view.model_id is 'The part.';
comment on column cad.space_cad_view.view is 'Number of the view; 0 to 9 are those of cad.view_image, imported ones count on.';
comment on column cad.space_cad_view.vec is 'Image vector of the view.';

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

insert into cad.space (name, dim, backend, vectors, views)
values ('cad', 512, 'native', 'cad.space_cad', 'cad.space_cad_view');

create trigger give_way before insert on cad.space
for each row execute function cad._space_give_way();

select pg_catalog.pg_extension_config_dump('cad.space', '');
select pg_catalog.pg_extension_config_dump('cad.space_cad_default', '');
select pg_catalog.pg_extension_config_dump('cad.space_cad_view', '');
