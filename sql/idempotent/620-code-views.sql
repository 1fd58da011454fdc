-- Views on the codes of spaces.

create or replace view cad.code_health
with (security_invoker = true) as
with coded as (
    select
        c.version,
        count(*) as parts,
        count(*) filter (where c.code is null) as parts_without_code
    from cad.part_code as c
    group by c.version
)

select
    b.space,
    b.version,
    b.state,
    b.encoder_version,
    b.tables,
    b.bits,
    b.subvectors,
    b.sample,
    b.parts as parts_trained,
    coalesce(coded.parts, 0) as parts,
    coalesce(coded.parts_without_code, 0) as parts_without_code,
    b.made_at,
    b.made_by
from cad.codebook as b
left join coded on b.version = coded.version;

comment on view cad.code_health is 'Codes that strategies lsh and tri use, one row for each version of each space.';
comment on column cad.code_health.space is 'Embedding space.';
comment on column cad.code_health.version is 'Version of its codebook.';
comment on column cad.code_health.state is 'building, serving, or void where the space has other vectors now.';
comment on column cad.code_health.encoder_version is 'Encoder of the vectors.';
comment on column cad.code_health.tables is 'Tables of the hash.';
comment on column cad.code_health.bits is 'Hyperplanes of a table.';
comment on column cad.code_health.subvectors is 'Bytes of a product code.';
comment on column cad.code_health.sample is 'Vectors that it was learned from.';
comment on column cad.code_health.parts_trained is 'Parts that had vectors then.';
comment on column cad.code_health.parts is 'Parts that it has sorted into buckets.';
comment on column cad.code_health.parts_without_code is
'Of these, parts that came or changed since and have no product code yet; call cad.encode_parts(space) makes them.';
comment on column cad.code_health.made_at is 'When the training began.';
comment on column cad.code_health.made_by is 'Who called it.';
