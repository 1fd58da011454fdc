-- Files that belong to a part, and the pictures of its ten views. The vectors of the views lie with their space.

create table cad.artifact (
    model_id uuid not null references cad.model on delete cascade,
    role text not null check (role in ('original', 'mesh', 'points', 'silhouettes', 'thumbnail', 'brep')),
    media_type text not null,
    content bytea not null,
    primary key (model_id, role)
);

alter table cad.artifact alter column content set storage external; -- PNG and GLB do not compress; slices read fast

comment on table cad.artifact is 'Files of a part: the original, a mesh, sampled points, silhouettes, a thumbnail and its B-rep.';
comment on column cad.artifact.model_id is 'The part.';
comment on column cad.artifact.role is
'original, mesh (GLB), points (float32 little-endian, n x 6: mm and unit normals), silhouettes (uint32 little-endian, '
'150 x 32: from all around, a row of pixels in each number), thumbnail (PNG) or brep (the graph of its faces as encoders '
'read it, packed; only of formats that have one).';
comment on column cad.artifact.media_type is 'Media type of the content.';
comment on column cad.artifact.content is 'The bytes.';

create table cad.view_image (
    model_id uuid not null references cad.model on delete cascade,
    view smallint not null check (view between 0 and 9),
    name text not null,
    azimuth_deg real not null,
    elevation_deg real not null,
    png bytea not null,
    primary key (model_id, view)
);

alter table cad.view_image alter column png set storage external;

comment on table cad.view_image is 'Pictures of the ten canonical views of a part; cad.view shows them with their vectors.';
comment on column cad.view_image.model_id is 'The part.';
comment on column cad.view_image.view is '0 front, 1 back, 2 left, 3 right, 4 top, 5 bottom, 6 to 9 isometric.';
comment on column cad.view_image.name is 'Name of the view.';
comment on column cad.view_image.azimuth_deg is 'Azimuth of the camera in degrees.';
comment on column cad.view_image.elevation_deg is 'Elevation of the camera in degrees.';
comment on column cad.view_image.png is 'The picture, 224 x 224, PNG.';

select pg_catalog.pg_extension_config_dump('cad.artifact', '');
select pg_catalog.pg_extension_config_dump('cad.view_image', '');
