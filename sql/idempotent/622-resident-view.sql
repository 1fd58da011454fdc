-- What is resident in the encoder service, and how far behind it is. Not security invoker: readers may know how much
-- has changed; which parts have is their affair only where policies say so.

create or replace view cad.resident_health as
with changed as (
    select
        c.vectors,
        count(distinct c.model_id) as parts
    from cad.resident_change as c
    group by c.vectors
)

select
    r.space,
    r.loaded_at is not null and r.vectors = s.vectors as in_use,
    r.parts,
    coalesce(changed.parts, 0) as changed_parts,
    r.began_at,
    r.loaded_at,
    r.refreshed_at
from cad.resident as r
inner join cad.space as s on r.space = s.name
left join changed on r.vectors = changed.vectors;

comment on view cad.resident_health is
'Spaces whose vectors were sent to the encoder service; what it holds, cad.encoder_health() -> ''resident'' tells.';
comment on column cad.resident_health.space is 'Embedding space.';
comment on column cad.resident_health.in_use is
'Whether searches may use them: false while they are being sent, and after cad.reembed has made others.';
comment on column cad.resident_health.parts is 'How many parts were sent.';
comment on column cad.resident_health.changed_parts is
'How many have changed since: every search compares them besides, until cad.refresh_resident.';
comment on column cad.resident_health.began_at is 'When the sending began.';
comment on column cad.resident_health.loaded_at is 'When all were sent.';
comment on column cad.resident_health.refreshed_at is 'When the service was last told of changes.';
