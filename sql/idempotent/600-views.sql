-- Views for BI tools: plain columns, units in the names, comments on each. Security invoker, so that
-- row level security on cad.model holds for whoever asks.

create or replace view cad.part
with (security_invoker = true) as
select
    m.model_id,
    m.part_number,
    m.revision,
    m.name,
    m.name_zh,
    m.family,
    m.kind,
    m.description,
    m.description_zh,
    m.description_generated,
    m.material,
    m.tags,
    m.aliases,
    m.mass_kg,
    m.volume_mm3,
    m.area_mm2,
    m.size_mm[3] as length_mm,
    m.size_mm[2] as width_mm,
    m.size_mm[1] as height_mm,
    m.closed,
    m.face_count,
    m.edge_count,
    m.solid_count,
    m.component_count,
    m.triangle_count,
    m.format,
    m.source_uri,
    m.created_at,
    m.updated_at
from cad.model as m;

comment on view cad.part is 'Parts and assemblies, one row each.';
comment on column cad.part.model_id is 'Identity of the part; what search_cad_like takes.';
comment on column cad.part.part_number is 'Part number as loaded.';
comment on column cad.part.revision is 'Revision as loaded.';
comment on column cad.part.name is 'Name.';
comment on column cad.part.name_zh is 'Chinese name.';
comment on column cad.part.family is 'Family; what searches narrow by.';
comment on column cad.part.kind is 'part, assembly or points.';
comment on column cad.part.description is 'English description, given or generated.';
comment on column cad.part.description_zh is 'Chinese description, given or generated.';
comment on column cad.part.description_generated is 'True where the description was generated from the geometry.';
comment on column cad.part.material is 'Material as loaded.';
comment on column cad.part.tags is 'Tags as loaded.';
comment on column cad.part.aliases is 'Part numbers and names of byte-identical files.';
comment on column cad.part.mass_kg is 'Mass in kg.';
comment on column cad.part.volume_mm3 is 'Volume in mm³; null where the surface is not closed.';
comment on column cad.part.area_mm2 is 'Surface area in mm².';
comment on column cad.part.length_mm is 'Largest extent of the bounding box in mm.';
comment on column cad.part.width_mm is 'Middle extent of the bounding box in mm.';
comment on column cad.part.height_mm is 'Smallest extent of the bounding box in mm.';
comment on column cad.part.closed is 'True where the surface encloses a volume.';
comment on column cad.part.face_count is 'Number of faces; null for meshes and points.';
comment on column cad.part.edge_count is 'Number of edges; null for meshes and points.';
comment on column cad.part.solid_count is 'Number of solids.';
comment on column cad.part.component_count is 'Number of components of an assembly.';
comment on column cad.part.triangle_count is 'Triangles of the stored mesh.';
comment on column cad.part.format is 'Format of the file it was read from.';
comment on column cad.part.source_uri is 'Where the file came from.';
comment on column cad.part.created_at is 'When the part was first loaded.';
comment on column cad.part.updated_at is 'When the part last changed.';

create or replace view cad.family_summary
with (security_invoker = true) as
select
    m.family,
    count(*) as parts,
    count(*) filter (where m.kind = 'assembly') as assemblies,
    count(*) filter (where not m.description_generated) as described_parts,
    count(distinct m.material) as materials,
    min(m.size_mm[3]) as smallest_length_mm,
    max(m.size_mm[3]) as largest_length_mm,
    percentile_cont(0.5) within group (order by m.volume_mm3) as median_volume_mm3,
    sum(m.mass_kg) as total_mass_kg,
    min(m.created_at) as first_created_at,
    max(m.created_at) as last_created_at
from cad.model as m
group by m.family;

comment on view cad.family_summary is 'Families and what is in them, one row each.';
comment on column cad.family_summary.family is 'Family.';
comment on column cad.family_summary.parts is 'Number of parts and assemblies.';
comment on column cad.family_summary.assemblies is 'How many of them are assemblies.';
comment on column cad.family_summary.described_parts is 'How many came with a description of their own.';
comment on column cad.family_summary.materials is 'Number of different materials.';
comment on column cad.family_summary.smallest_length_mm is 'Largest extent of the shortest part, in mm.';
comment on column cad.family_summary.largest_length_mm is 'Largest extent of the longest part, in mm.';
comment on column cad.family_summary.median_volume_mm3 is 'Median volume in mm³ of the closed parts.';
comment on column cad.family_summary.total_mass_kg is 'Sum of the known masses in kg.';
comment on column cad.family_summary.first_created_at is 'When its first part was loaded.';
comment on column cad.family_summary.last_created_at is 'When its latest part was loaded.';

-- Not security invoker: readers may know how loading goes, the queue itself is the loaders' affair.
create or replace view cad.ingest_status as
select
    i.state,
    i.outcome,
    i.last_sqlstate,
    count(*) as files,
    min(i.requested_at) as first_requested_at,
    max(i.finished_at) as last_finished_at,
    avg(i.elapsed_ms)::real as mean_elapsed_ms
from cad.ingest as i
group by i.state, i.outcome, i.last_sqlstate;

comment on view cad.ingest_status is
'The loading queue: how many files are in which state, failures by reason. cad.ingest has each file.';
comment on column cad.ingest_status.state is 'pending, done or failed.';
comment on column cad.ingest_status.outcome is 'Of done files: new, or duplicate of a part that was there.';
comment on column cad.ingest_status.last_sqlstate is 'SQLSTATE of the last failure.';
comment on column cad.ingest_status.files is 'Number of files.';
comment on column cad.ingest_status.first_requested_at is 'When the first of them was put in.';
comment on column cad.ingest_status.last_finished_at is 'When the latest of them was done or failed.';
comment on column cad.ingest_status.mean_elapsed_ms is 'Mean time in the encoder service in ms.';

create or replace view cad.view
with (security_invoker = true) as
select
    i.model_id,
    i.view,
    i.name,
    i.azimuth_deg,
    i.elevation_deg,
    i.png,
    v.vec
from cad.view_image as i
left join cad.space_cad_view as v on i.model_id = v.model_id and i.view = v.view;

comment on view cad.view is 'The ten canonical views of a part, each with its image vector in the default space.';
comment on column cad.view.model_id is 'The part.';
comment on column cad.view.view is '0 front, 1 back, 2 left, 3 right, 4 top, 5 bottom, 6 to 9 isometric.';
comment on column cad.view.name is 'Name of the view.';
comment on column cad.view.azimuth_deg is 'Azimuth of the camera in degrees.';
comment on column cad.view.elevation_deg is 'Elevation of the camera in degrees.';
comment on column cad.view.png is 'The picture, 224 x 224, PNG.';
comment on column cad.view.vec is 'Image vector of the view in space cad, unit length.';

create or replace view cad.index_health
with (security_invoker = true) as
select
    x.space,
    x.partition,
    x.index,
    x.kind,
    x.dim,
    x.parameters,
    x.valid,
    x.size_bytes,
    x.parts,
    x.scans
from cad._vector_indexes() as x;

comment on view cad.index_health is 'Vector indexes that stand, one row for each partition and index.';
comment on column cad.index_health.space is 'Embedding space.';
comment on column cad.index_health.partition is 'Table of vectors.';
comment on column cad.index_health.index is 'The index.';
comment on column cad.index_health.kind is 'hnsw, prefix, bit or ivfflat.';
comment on column cad.index_health.dim is 'Dimensions that are indexed.';
comment on column cad.index_health.parameters is 'Parameters that it was made with; the defaults of pgvector where null.';
comment on column cad.index_health.valid is 'Whether searches may use it; an index that is not valid is to be made anew.';
comment on column cad.index_health.size_bytes is 'Size on disk in bytes.';
comment on column cad.index_health.parts is 'Parts in the table, as of its last analyze.';
comment on column cad.index_health.scans is 'How often it was read since the statistics were reset.';
