-- The queue of files to load.

create table cad.ingest (
    ingest_id bigint generated always as identity primary key,
    source_uri text not null,
    sha256 bytea not null check (pg_catalog.octet_length(sha256) = 32),
    format text not null,
    content bytea,
    metadata jsonb not null default '{}' check (pg_catalog.jsonb_typeof(metadata) = 'object'),
    state text not null default 'pending' check (state in ('pending', 'done', 'failed')),
    outcome text check (outcome in ('new', 'duplicate')),
    attempts integer not null default 0,
    last_error text,
    last_sqlstate text,
    model_id uuid references cad.model on delete cascade, -- so that the file of a deleted part can be loaded again
    requested_by text not null default current_user,
    requested_at timestamptz not null default pg_catalog.now(),
    finished_at timestamptz,
    elapsed_ms real,
    unique (source_uri, sha256),
    check (state = 'done' or content is not null)
);

alter table cad.ingest alter column content set storage external; -- written once, read once

comment on table cad.ingest is
'Queue of files to load: copy rows in, then call cad.ingest_pending(). sha256 is computed from the content.';
comment on column cad.ingest.ingest_id is 'Order of arrival. Files are tried in the order of attempts, then of arrival.';
comment on column cad.ingest.source_uri is 'Where the file came from.';
comment on column cad.ingest.sha256 is 'SHA-256 of the content, computed on arrival.';
comment on column cad.ingest.format is 'File format: step, stl, obj, ply, glb, 3mf, off, xyz or npy.';
comment on column cad.ingest.content is 'The file; null once done.';
comment on column cad.ingest.metadata is
'What is known beyond the file: part_number, revision, name, name_zh, family, description, description_zh, material, '
'tags, units, mass_kg, density_kg_m3. Other keys are kept in cad.model.genome.';
comment on column cad.ingest.state is 'pending, done or failed.';
comment on column cad.ingest.outcome is 'new, or duplicate where a byte-identical part was there.';
comment on column cad.ingest.attempts is
'How often the file was tried. A pending file that was lost with the service three times is next tried alone.';
comment on column cad.ingest.last_error is 'Why the last try failed, and what to do.';
comment on column cad.ingest.last_sqlstate is 'SQLSTATE of the last failure.';
comment on column cad.ingest.model_id is 'The part it became; this row goes with it.';
comment on column cad.ingest.requested_by is 'Role that put it in.';
comment on column cad.ingest.requested_at is 'When it was put in.';
comment on column cad.ingest.finished_at is 'When it was done or failed.';
comment on column cad.ingest.elapsed_ms is 'From sending this file to the encoder service to its answer; null where it was not asked.';

create index ingest_pending_idx on cad.ingest (attempts, ingest_id) where state = 'pending';
create index ingest_state_idx on cad.ingest (state);
create index ingest_model_id_idx on cad.ingest (model_id);

select pg_catalog.pg_extension_config_dump('cad.ingest', '');
select pg_catalog.pg_extension_config_dump('cad.ingest_ingest_id_seq', '');
