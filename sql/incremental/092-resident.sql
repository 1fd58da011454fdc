-- Which spaces have their vectors in the memory of the encoder service as well, and which parts have changed since the
-- service was last told. Both are written by the transactions that change the vectors, so that every snapshot sees
-- vectors and changes of the same moment. Not dumped: a restored database has told no service anything.

create table cad.resident (
    space text primary key references cad.space on update cascade on delete cascade,
    vectors regclass not null unique,
    generation uuid not null,
    changes bigint not null default 0,
    encoder_version text,
    parts bigint not null default 0,
    began_at timestamptz not null default pg_catalog.now(),
    loaded_at timestamptz,
    refreshed_at timestamptz
);

comment on table cad.resident is 'Spaces whose vectors the encoder service was sent by cad.load_resident.';
comment on column cad.resident.space is 'The space.';
comment on column cad.resident.vectors is
'Its table of vectors then: cad.reembed puts another in its place, and the resident vectors are void.';
comment on column cad.resident.generation is 'What the service knows this loading by.';
comment on column cad.resident.changes is 'Number of the last change that the service was told of, by its own count.';
comment on column cad.resident.encoder_version is 'Encoder that made the vectors.';
comment on column cad.resident.parts is 'How many parts the service holds.';
comment on column cad.resident.began_at is 'When the loading began.';
comment on column cad.resident.loaded_at is 'When it was done; null until then, and then searches use it.';
comment on column cad.resident.refreshed_at is 'When the service was last told of changes.';

create table cad.resident_change (
    change_id bigint generated always as identity primary key,
    vectors oid not null,
    model_id uuid not null
);

create index resident_change_vectors_idx on cad.resident_change (vectors, model_id);

alter table cad.resident_change enable row level security;
create policy visible on cad.resident_change
using (
    exists (
        select from cad.model as m
        where m.model_id = resident_change.model_id
    )
);

comment on table cad.resident_change is
'Parts whose vectors have changed since the encoder service was told; cad.refresh_resident tells it and empties this.';
comment on column cad.resident_change.change_id is 'Number of the change.';
comment on column cad.resident_change.vectors is 'The table that they changed in.';
comment on column cad.resident_change.model_id is 'The part.';
