-- Codes of vectors: buckets that near vectors share (locality-sensitive hashing by random hyperplanes: Charikar,
-- "Similarity estimation techniques from rounding algorithms", 2002) and one byte for each subvector (product
-- quantization: Jegou, Douze and Schmid, "Product quantization for nearest neighbor search", 2011).
--
-- They stand beside the vectors, in one narrow table for all spaces: a row of vectors is 4 kB wide, and every update of
-- it is an insert into its HNSW index.

create table cad.codebook (
    version integer generated always as identity primary key,
    space text not null references cad.space on update cascade on delete cascade,
    state text not null default 'building' check (state in ('building', 'serving', 'void')),
    encoder_version text,
    seed integer not null,
    tables smallint not null check (tables between 1 and 32),
    bits smallint not null check (bits between 4 and 16),
    subvectors smallint not null check (subvectors between 1 and 256),
    sample integer not null,
    parts bigint not null,
    made_at timestamptz not null default pg_catalog.now(),
    made_by name not null default session_user
);

create unique index codebook_serving_idx on cad.codebook (space) where state = 'serving';

comment on table cad.codebook is
'What the codes of a space are made by: one row for each training. The hyperplanes and centroids are rows beside it.';
comment on column cad.codebook.version is 'Counts the trainings.';
comment on column cad.codebook.space is 'The space.';
comment on column cad.codebook.state is
'building until every part has its code; serving; void where the space has other vectors now or a newer version serves.';
comment on column cad.codebook.encoder_version is 'Encoder that made the vectors; codes serve no others.';
comment on column cad.codebook.seed is 'Where its random numbers began.';
comment on column cad.codebook.tables is 'Tables of the hash, each of which sorts every part into one of its buckets.';
comment on column cad.codebook.bits is 'Hyperplanes of a table.';
comment on column cad.codebook.subvectors is 'Bytes of a code. Subvector i of m takes the dimensions i, i + m, i + 2 m, …';
comment on column cad.codebook.sample is 'Vectors that the centroids were learned from.';
comment on column cad.codebook.parts is 'Parts that had vectors when it was trained, from which bits follow unless given.';
comment on column cad.codebook.made_at is 'When the training began.';
comment on column cad.codebook.made_by is 'Who called it.';

create table cad.hyperplane (
    version integer references cad.codebook on delete cascade,
    hash_table integer,
    bit integer,
    normal halfvec not null,
    threshold real not null,
    primary key (version, hash_table, bit)
);

comment on table cad.hyperplane is
'Hyperplanes of the hash, in random directions through the mean of the sample: vectors of parts lie in a cone, and '
'planes through the origin would leave most of them on one side.';
comment on column cad.hyperplane.version is 'The codebook.';
comment on column cad.hyperplane.hash_table is 'Table, from 0.';
comment on column cad.hyperplane.bit is 'Bit of its hash, from 0.';
comment on column cad.hyperplane.normal is 'Direction, unit length.';
comment on column cad.hyperplane.threshold is 'Inner product of the direction with the mean; more than that sets the bit.';

create table cad.centroid (
    version integer references cad.codebook on delete cascade,
    subvector smallint,
    number smallint,
    centroid halfvec not null,
    primary key (version, subvector, number)
);

comment on table cad.centroid is 'What the bytes of a code stand for: 256 centroids of each subvector.';
comment on column cad.centroid.version is 'The codebook.';
comment on column cad.centroid.subvector is 'Subvector, from 0: which byte.';
comment on column cad.centroid.number is 'Value of the byte.';
comment on column cad.centroid.centroid is 'Mean of the subvectors that have it.';

create table cad.part_code (
    model_id uuid,
    version integer references cad.codebook on delete cascade,
    family text not null,
    vector_md5 uuid not null,
    buckets integer[] not null,
    code bytea,
    primary key (model_id, version),
    foreign key (model_id, family) references cad.model (model_id, family) on update cascade on delete cascade
);

-- Without a list of pending entries, which every search would read from end to end.
create index part_code_buckets_idx on cad.part_code using gin (buckets) with (fastupdate = off);

comment on table cad.part_code is 'Codes of the fused vectors.';
comment on column cad.part_code.model_id is 'The part.';
comment on column cad.part_code.version is 'The codebook.';
comment on column cad.part_code.family is 'Family of the part; follows cad.model.';
comment on column cad.part_code.vector_md5 is 'MD5 of the vector, which tells whether another one has its place.';
comment on column cad.part_code.buckets is
'Bucket in each table: (version modulo 1024) << 21 | table << 16 | hash. As current as the vector.';
comment on column cad.part_code.code is
'One byte for each subvector; null until cad.encode_parts or the next training, and the vector counts until then.';

-- A restore may load the vectors, whose trigger makes rows, before it loads the rows that were dumped.
create function cad._part_code_give_way() returns trigger
language plpgsql
set search_path from current
as $$
begin
    delete from cad.part_code as c where c.model_id = new.model_id and c.version = new.version;
    return new;
end
$$;

comment on function cad._part_code_give_way() is 'A row takes the place of the one that the part has.';

create trigger give_way before insert on cad.part_code
for each row execute function cad._part_code_give_way();

create function cad._hash_vector() returns trigger
language plpgsql security definer
set search_path from current
as $$
begin
    if exists (select from cad.codebook) then
        perform cad._hash_part(
            coalesce(pg_partition_root(tg_relid), tg_relid), new.model_id, new.family, new.fused_vec
        );
    end if;
    return null;
end
$$;

comment on function cad._hash_vector() is 'Sorts a part into the buckets of its new vector.';

-- For each row: so every partition has it, also one that comes later or is written to by its own name.
create trigger hash_vector after insert or update of fused_vec on cad.space_cad
for each row execute function cad._hash_vector();

create function cad._void_codes() returns trigger
language plpgsql security definer
set search_path from current
as $$
begin
    update cad.codebook as b set state = 'void' where b.space = new.name and b.state <> 'void';
    return null;
end
$$;

comment on function cad._void_codes() is 'Codes of the vectors that a space had before serve no more.';

create trigger void_codes after update of encoder_version, vectors on cad.space
for each row
when (old.encoder_version is distinct from new.encoder_version or old.vectors is distinct from new.vectors)
execute function cad._void_codes();

select pg_catalog.pg_extension_config_dump('cad.codebook', '');
select pg_catalog.pg_extension_config_dump('cad.codebook_version_seq', '');
select pg_catalog.pg_extension_config_dump('cad.hyperplane', '');
select pg_catalog.pg_extension_config_dump('cad.centroid', '');
select pg_catalog.pg_extension_config_dump('cad.part_code', '');
