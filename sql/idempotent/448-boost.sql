-- Boosts, the soft form of filters: what is preferred raises a part in the rerank and excludes none.

create or replace function cad._nearness_of(measured double precision, wanted double precision)
returns double precision
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    return case
        when measured = wanted then 1
        when measured >= 0 then least(measured, wanted) / greatest(measured, wanted)
        else 0
    end;
end
$$;

comment on function cad._nearness_of(double precision, double precision) is
'How near a measure is to the wanted one: the lesser over the greater, exp(-|ln ratio|). 0 where there is none.';

create or replace function cad._boost(
    boost jsonb, material text, mass_kg double precision, volume_mm3 double precision, size_mm real[]
)
returns double precision
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    return (
        select avg(coalesce(case wanted.key
            when 'material' then (lower(_boost.material) = lower(wanted.value #>> '{}'))::int
            when 'mass_kg' then cad._nearness_of(_boost.mass_kg, (wanted.value -> 'near')::double precision)
            when 'volume_mm3' then cad._nearness_of(_boost.volume_mm3, (wanted.value -> 'near')::double precision)
            when 'size_mm' then (
                select avg(cad._nearness_of(_boost.size_mm[e.place], e.extent))
                from (
                    select
                        e.extent::double precision as extent,
                        row_number() over (order by e.extent::double precision) as place
                    from jsonb_array_elements_text(wanted.value) as e (extent)
                ) as e
            )
        end, 0))
        from jsonb_each(boost) as wanted
    );
end
$$;

comment on function cad._boost(jsonb, text, double precision, double precision, real[]) is
'How much of what is preferred a part has, 0 to 1: the mean over the properties, 0 for one that it lacks.';
