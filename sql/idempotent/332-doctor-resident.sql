-- Checks of resident vectors: whether the encoder service still holds them, and how much it was not told.

create or replace function cad._doctor_resident()
returns table (check_name text, status text, detail text, hint text)
language plpgsql stable parallel unsafe
set search_path from current
as $$
declare
    health record;
begin
    if not exists (select from cad.resident) then
        return;
    end if;
    select * into health from cad._request('health', '{}', '{}');
    return query
    select
        format('resident vectors of space %s', s.space),
        case when s.in_use and h.held then 'ok' else 'warning' end,
        case
            when not s.in_use then 'they were not loaded to the end, or cad.reembed has made others since'
            when not h.held then 'the encoder service does not hold them: it was restarted, or is away'
            else format('%s parts, %s of them changed since', s.parts, s.changed_parts)
        end,
        case
            when not (s.in_use and h.held) then format('call cad.load_resident(%1$L); or select cad.drop_resident(%1$L);', s.space)
            when s.changed_parts > 0 then format('call cad.refresh_resident(%L);', s.space)
        end
    from cad.resident_health as s
    inner join cad.resident as r on r.space = s.space
    cross join lateral (
        select coalesce(
            health.reply #> '{resident,spaces}' @> jsonb_build_array(jsonb_build_object('generation', r.generation)), false
        ) as held
    ) as h
    order by s.space;
end
$$;

comment on function cad._doctor_resident() is 'Checks of the vectors that are resident in the encoder service.';
