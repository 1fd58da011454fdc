-- Parts and assemblies, one row per revision.

create function cad._lexemes(
    part_number text, aliases text[], name text, name_zh text, family text, tags text[], material text,
    description text, description_zh text
) returns tsvector
language sql immutable parallel safe
set search_path from current
as $$
    -- Long descriptions are cut: what stands behind 20,000 characters would only blow the limit of a tsvector.
    select
        setweight(to_tsvector('simple', cad._lexical_text(concat_ws(' ', part_number, array_to_string(aliases, ' ')))), 'A')
        || setweight(to_tsvector('simple', cad._lexical_text(concat_ws(' ', name, name_zh))), 'B')
        || setweight(to_tsvector(
            'simple', cad._lexical_text(concat_ws(' ', family, material, array_to_string(tags, ' ')))
        ), 'C')
        || setweight(to_tsvector(
            'simple', cad._lexical_text(left(concat_ws(' ', description, description_zh), 20000))
        ), 'D')
$$;

comment on function cad._lexemes(text, text[], text, text, text, text[], text, text, text) is
'Weighted lexemes of a part: A part number and aliases, B names, C family, tags and material, D descriptions.';

create function cad._step(measured double precision) returns integer
language sql immutable strict parallel safe
set search_path from current
as $$
    select round(200 * ln(measured))::integer
$$;

comment on function cad._step(double precision) is 'Place of a positive number on a scale of steps of half a per cent.';

create function cad._number_lexemes(measures jsonb, size_mm real[]) returns tsvector
language sql immutable parallel safe
set search_path from current
as $$
    -- s size, l any length, p pitch, each with its step; n a count.
    select coalesce(array_to_tsvector(array_agg(distinct n.lexeme)), '')
    from (
        select unnest(array['s', 'l']) || cad._step(extent)
        from unnest(size_mm) as extent
        where extent > 0
        union all
        select kind.letter || cad._step(measured::double precision)
        from (
            values ('l', 'pitch_mm'), ('l', 'diameter_mm'), ('l', 'length_mm'), ('p', 'pitch_mm')
        ) as kind (letter, measure), lateral jsonb_array_elements_text(measures -> kind.measure) as measured
        union all
        select 'n' || measured::double precision
        from jsonb_array_elements_text(measures -> 'count') as measured
    ) as n (lexeme)
$$;

comment on function cad._number_lexemes(jsonb, real[]) is
'Numbers that a part measures, as lexemes: s size, l any length, p pitch, each in steps of half a per cent, and n a count.';

create table cad.model (
    model_id uuid primary key default pg_catalog.gen_random_uuid(),
    part_number text,
    revision text,
    name text not null,
    name_zh text,
    aliases text[] not null default '{}',
    source_uri text,
    sha256 bytea not null unique check (pg_catalog.octet_length(sha256) = 32),
    format text not null,
    kind text not null check (kind in ('part', 'assembly', 'points')),
    family text not null default 'unclassified' check (family <> ''),
    description text,
    description_zh text,
    description_generated boolean not null default false,
    tags text[] not null default '{}',
    material text,
    unit_as_read text,
    closed boolean,
    volume_mm3 double precision,
    area_mm2 double precision,
    mass_kg double precision,
    center_of_mass_mm real[],
    principal_moments_mm5 double precision[],
    box_mm cube,
    size_mm real[] check (pg_catalog.array_length(size_mm, 1) = 3),
    measures jsonb,
    face_count integer,
    edge_count integer,
    faces_by_type jsonb,
    edges_by_type jsonb,
    solid_count integer,
    component_count integer,
    triangle_count integer,
    genome jsonb,
    lexemes tsvector generated always as (
        cad._lexemes(part_number, aliases, name, name_zh, family, tags, material, description, description_zh)
    ) stored,
    numbers tsvector generated always as (cad._number_lexemes(measures, size_mm)) stored,
    created_at timestamptz not null default pg_catalog.now(),
    updated_at timestamptz not null default pg_catalog.now(),
    unique (model_id, family) -- what the vector tables refer to, so that a new family moves their rows
);

comment on table cad.model is 'Parts and assemblies, one row per revision.';
comment on column cad.model.model_id is 'Identity of the part.';
comment on column cad.model.part_number is 'Part number as given by the loader.';
comment on column cad.model.revision is 'Revision as given by the loader.';
comment on column cad.model.name is 'Name, from the loader, the file or the file name.';
comment on column cad.model.name_zh is 'Chinese name.';
comment on column cad.model.aliases is 'Part numbers and names of byte-identical files.';
comment on column cad.model.source_uri is 'Where the first of the byte-identical files came from.';
comment on column cad.model.sha256 is 'SHA-256 of the file.';
comment on column cad.model.format is 'File format: step, stl, obj, ply, glb, 3mf, off, xyz or npy.';
comment on column cad.model.kind is 'part, assembly or points.';
comment on column cad.model.family is 'Family; partition key of the vector tables.';
comment on column cad.model.description is 'English description, given or generated.';
comment on column cad.model.description_zh is 'Chinese description, given or generated.';
comment on column cad.model.description_generated is 'True where the description was generated from the geometry.';
comment on column cad.model.tags is 'Tags as given by the loader.';
comment on column cad.model.material is 'Material as given by the loader.';
comment on column cad.model.unit_as_read is 'Length unit of the file before conversion to millimetres.';
comment on column cad.model.closed is 'True where the surface encloses a volume.';
comment on column cad.model.volume_mm3 is 'Volume in mm³; null where the surface is not closed.';
comment on column cad.model.area_mm2 is 'Surface area in mm².';
comment on column cad.model.mass_kg is 'Mass in kg: as given, or volume times the given density.';
comment on column cad.model.center_of_mass_mm is 'Centre of mass x, y, z in mm.';
comment on column cad.model.principal_moments_mm5 is 'Principal moments of inertia at unit density in mm⁵, ascending.';
comment on column cad.model.box_mm is 'Axis-aligned bounding box in mm.';
comment on column cad.model.size_mm is 'Extents of the bounding box in mm, ascending.';
comment on column cad.model.measures is
'What a drawing would say, read off the faces: count (of equal faces), pitch_mm, diameter_mm, length_mm; null for meshes.';
comment on column cad.model.face_count is 'Number of faces; null for meshes and points.';
comment on column cad.model.edge_count is 'Number of edges; null for meshes and points.';
comment on column cad.model.faces_by_type is 'Number of faces by surface type.';
comment on column cad.model.edges_by_type is 'Number of edges by curve type.';
comment on column cad.model.solid_count is 'Number of solids.';
comment on column cad.model.component_count is 'Number of components of an assembly.';
comment on column cad.model.triangle_count is 'Triangles of the stored mesh.';
comment on column cad.model.genome is 'Assembly tree, names, colours; under metadata what the loader gave beyond the known keys.';
comment on column cad.model.lexemes is 'Generated: weighted lexemes of numbers, names, family, tags and descriptions.';
comment on column cad.model.numbers is 'Generated: sizes, lengths, pitches and counts as lexemes, for questions that name them.';
comment on column cad.model.created_at is 'When the part was first loaded.';
comment on column cad.model.updated_at is 'When the row last changed.';

-- Filters read indexes. Those that one filter alone is about tell the part, too, so that no row is looked at.
create index model_lexemes_idx on cad.model using gin (lexemes);
create index model_numbers_idx on cad.model using gin (numbers);
create index model_part_number_trgm_idx on cad.model using gin (part_number gin_trgm_ops);
create index model_name_trgm_idx on cad.model using gin (name gin_trgm_ops);
create index model_aliases_idx on cad.model using gin (aliases);
create index model_tags_idx on cad.model using gin (tags);
create index model_box_idx on cad.model using gist (box_mm);
create index model_size_idx on cad.model using gist (cube(size_mm::double precision[]));
create index model_family_idx on cad.model (family) include (model_id);
create index model_part_number_idx on cad.model (part_number);
create index model_material_idx on cad.model (material) include (model_id, family);
create index model_volume_idx on cad.model (volume_mm3) include (model_id, family);
create index model_mass_idx on cad.model (mass_kg) include (model_id, family);
create index model_created_at_idx on cad.model (created_at) include (model_id, family);

select pg_catalog.pg_extension_config_dump('cad.model', '');
