-- Files that belong to a part, and its ten views.

create table cad.artifact (
    model_id uuid not null references cad.model on delete cascade,
    role text not null check (role in ('original', 'mesh', 'points', 'thumbnail')),
    media_type text not null,
    content bytea not null,
    primary key (model_id, role)
);

alter table cad.artifact alter column content set storage external; -- PNG and GLB do not compress; slices read fast

comment on table cad.artifact is 'Files of a part: the original, a mesh, sampled points and a thumbnail.';
comment on column cad.artifact.model_id is 'The part.';
comment on column cad.artifact.role is 'original, mesh (GLB), points (float32 little-endian, n x 6: mm and unit normals) or thumbnail (PNG).';
comment on column cad.artifact.media_type is 'Media type of the content.';
comment on column cad.artifact.content is 'The bytes.';

create table cad.view (
    model_id uuid not null references cad.model on delete cascade,
    view smallint not null check (view between 0 and 9),
    name text not null,
    azimuth_deg real not null,
    elevation_deg real not null,
    png bytea not null,
    vec halfvec(512) not null,
    primary key (model_id, view)
);

alter table cad.view alter column png set storage external;

comment on table cad.view is 'The ten canonical views of a part, each with its image vector.';
comment on column cad.view.model_id is 'The part.';
comment on column cad.view.view is '0 front, 1 back, 2 left, 3 right, 4 top, 5 bottom, 6 to 9 isometric.';
comment on column cad.view.name is 'Name of the view.';
comment on column cad.view.azimuth_deg is 'Azimuth of the camera in degrees.';
comment on column cad.view.elevation_deg is 'Elevation of the camera in degrees.';
comment on column cad.view.png is 'The picture, 224 x 224, PNG.';
comment on column cad.view.vec is 'Image vector of the view in space cad, unit length.';

select pg_catalog.pg_extension_config_dump('cad.artifact', '');
select pg_catalog.pg_extension_config_dump('cad.view', '');
