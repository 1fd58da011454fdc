-- The hash of a vector: on which sides of the hyperplanes of a table it lies. Near vectors share a bucket in some
-- table; a question also looks into the buckets that it misses by little (Lv, Josephson, Wang, Charikar and Li,
-- "Multi-probe LSH", 2007).

create or replace function cad._buckets(version integer, vec halfvec)
returns integer[]
language plpgsql
stable strict parallel safe
set search_path from current
as $$
declare
    direction constant halfvec := l2_normalize(vec);
begin
    return array(
        select bit_or(
            ((_buckets.version & 1023) << 21) | (h.hash_table << 16)
            | case when -(h.normal <#> direction) > h.threshold then 1 << h.bit else 0 end
        )
        from cad.hyperplane as h
        where h.version = _buckets.version
        group by h.hash_table
    );
end
$$;

comment on function cad._buckets(integer, halfvec) is 'The bucket of a vector in each table of a codebook.';

create or replace function cad._probes(version integer, vec halfvec)
returns integer[]
language plpgsql
stable strict parallel safe
set search_path from current
as $$
declare
    direction constant halfvec := l2_normalize(vec);
begin
    return array(
        with plane as materialized (
            select h.hash_table, 1 << h.bit as mask, -(h.normal <#> direction) - h.threshold as margin
            from cad.hyperplane as h
            where h.version = _probes.version
        ),

        home as (
            select
                p.hash_table,
                bit_or(
                    ((_probes.version & 1023) << 21) | (p.hash_table << 16) | case when p.margin > 0 then p.mask else 0 end
                ) as bucket
            from plane as p
            group by p.hash_table
        ),

        flip as (
            select h.hash_table, 0 as mask, 0 as distance from home as h
            union all
            select p.hash_table, p.mask, p.margin ^ 2 from plane as p
            union all
            select p.hash_table, p.mask | q.mask, p.margin ^ 2 + q.margin ^ 2
            from plane as p
            inner join plane as q on p.hash_table = q.hash_table and p.mask < q.mask
        )

        select h.bucket # f.mask
        from flip as f
        inner join home as h on f.hash_table = h.hash_table
        order by f.distance, h.bucket
    );
end
$$;

comment on function cad._probes(integer, halfvec) is
'Buckets to look into for a question, the likeliest first: its own in each table, then those that one bit or two lead to, '
'by how far it is from their hyperplanes.';

create or replace function cad._hash_part(vectors regclass, part uuid, family text, vec halfvec)
returns void
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
begin
    if vec is null or l2_norm(vec) = 0 then
        delete from cad.part_code as c
        using cad.codebook as b, cad.space as s
        where c.model_id = part and b.version = c.version and s.name = b.space and s.vectors = _hash_part.vectors;
        return;
    end if;
    insert into cad.part_code (model_id, version, family, vector_md5, buckets)
    select part, b.version, _hash_part.family, md5(halfvec_send(vec))::uuid, cad._buckets(b.version, vec)
    from cad.codebook as b
    inner join cad.space as s on s.name = b.space
    where s.vectors = _hash_part.vectors and b.state <> 'void' and not exists (
        select from cad.part_code as c
        where c.model_id = part and c.version = b.version and c.vector_md5 = md5(halfvec_send(vec))::uuid
    );
end
$$;

comment on function cad._hash_part(regclass, uuid, text, halfvec) is
'Gives a part the buckets of its vector; none where that has no direction. Its code is void with another vector.';
