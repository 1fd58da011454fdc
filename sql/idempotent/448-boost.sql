-- Boosts, the soft form of filters: what is preferred raises a part in the rerank and excludes none. What is computed
-- for every candidate has no set clause and a body bound at creation, so that the planner can inline it.

create or replace function cad._wanted(boost jsonb)
returns jsonb
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    if boost is null or boost = '{}' then
        return null;
    end if;
    return jsonb_build_object(
        'material', lower(boost ->> 'material'),
        'mass_kg', boost #> '{mass_kg,near}',
        'volume_mm3', boost #> '{volume_mm3,near}',
        'size_mm', (select jsonb_agg(e.extent order by e.extent) from jsonb_array_elements(boost -> 'size_mm') as e (extent)),
        'properties', (select count(*) from jsonb_object_keys(boost))
    );
end
$$;

comment on function cad._wanted(jsonb) is
'options.boost as candidates are compared with it, its extents in ascending order; null for nothing.';

create or replace function cad._nearness_to(wanted double precision, measured double precision)
returns double precision
language sql
immutable parallel safe
begin atomic
    select case
        when measured = wanted then 1
        when measured >= 0 and wanted >= 0 then least(measured, wanted) / greatest(measured, wanted)
        else 0
    end;
end;

comment on function cad._nearness_to(double precision, double precision) is
'How near a measure is to the wanted one: the lesser over the greater, which is exp(-|ln ratio|). 0 where there is none.';

create or replace function cad._boost(
    wanted jsonb, material text, mass_kg double precision, volume_mm3 double precision, size_mm real[]
)
returns double precision
language sql
immutable parallel safe
begin atomic
    select (
        coalesce((lower(material) = wanted ->> 'material')::int, 0)
        + cad._nearness_to((wanted ->> 'mass_kg')::double precision, mass_kg)
        + cad._nearness_to((wanted ->> 'volume_mm3')::double precision, volume_mm3)
        + (
            cad._nearness_to((wanted #>> '{size_mm,0}')::double precision, size_mm[1])
            + cad._nearness_to((wanted #>> '{size_mm,1}')::double precision, size_mm[2])
            + cad._nearness_to((wanted #>> '{size_mm,2}')::double precision, size_mm[3])
        ) / 3
    ) / (wanted ->> 'properties')::double precision;
end;

comment on function cad._boost(jsonb, text, double precision, double precision, real[]) is
'How much of what is wanted a part has, 0 to 1: the mean over the properties, 0 for one that it lacks.';
