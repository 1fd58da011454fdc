-- From what was asked to a cad._query: its words as lexical terms, and the vector that each stored modality is
-- compared with. A modality that the question does not have is compared with the fused vector of the question, but for
-- the texts of parts where a picture and a file were asked for: vectors of texts lie apart from theirs; and for the
-- exact faces of parts where the question has none: they tell nothing then (docs/results/encoders/rerank.md).

create or replace function cad._stored_space(name text)
returns cad.space
language plpgsql
stable parallel restricted
set search_path from current
as $$
declare
    stored cad.space;
    vectors text;
begin
    select s.* into strict stored from cad.space as s where s.name = _stored_space.name;
    -- Reading from the tables keeps their names until the end of the transaction, unless they have changed just before.
    loop
        vectors := stored.vectors;
        -- The default partition, where a null would lie: while it is read, no other is attached.
        execute format('select from %s as s where s.family is null limit 0', vectors);
        exit when stored.vectors::text = vectors;
    end loop;
    return stored;
end
$$;

comment on function cad._stored_space(text) is
'The space as the snapshot of the query has it. From now on cad.reembed cannot rename its tables under the search.';

create or replace function cad._sees_partitions(vectors regclass)
returns boolean
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    return (
        select count(*) = (select count(*) from pg_inherits as i where i.inhparent = vectors) -- as the snapshot sees them
        from pg_partition_tree(vectors) as t -- as they are now
        where t.level = 1
    );
end
$$;

comment on function cad._sees_partitions(regclass) is
'Whether the snapshot of the query sees all partitions of a table of vectors. Where a family got its own one since, the '
'rows that the snapshot sees lie elsewhere, and no join may look for them by family.';

create or replace function cad._given_vector(stored cad.space, v vector)
returns halfvec
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    if vector_dims(v) <> stored.dim then
        raise exception 'the vector has % dimensions, space % has %', vector_dims(v), stored.name, stored.dim
            using errcode = '22023', hint = 'Give a vector made by the encoder of that space.';
    end if;
    if vector_norm(v) = 0 then
        raise exception 'the vector is zero'
            using errcode = '22023', hint = 'A vector of length 0 has no direction to compare.';
    end if;
    return l2_normalize(v);
end
$$;

comment on function cad._given_vector(cad.space, vector) is
'A vector that the caller made, checked and scaled to unit length.';

create or replace function cad._vectors_of(
    stored cad.space, part uuid,
    out text_vec halfvec, out image_vec halfvec, out shape_vec halfvec, out brep_vec halfvec,
    out fused_vec halfvec, out version text
)
language plpgsql
stable parallel restricted
set search_path from current
as $$
begin
    execute format($query$
        select s.text_vec, s.image_vec, s.shape_vec, s.brep_vec, s.fused_vec, s.encoder_version
        from cad.model as m
        inner join %s as s on s.model_id = m.model_id and case when $2 then s.family else s.family || '' end = m.family
        where m.model_id = $1
    $query$, stored.vectors)
    into text_vec, image_vec, shape_vec, brep_vec, fused_vec, version
    using part, cad._sees_partitions(stored.vectors);
    if fused_vec is null then
        raise exception 'there is no part % with vectors in space %', part, stored.name
            using errcode = '22023', hint = 'Take a model_id from cad.part; cad.doctor() tells of parts without vectors.';
    end if;
end
$$;

comment on function cad._vectors_of(cad.space, uuid) is 'The stored vectors of a part.';

create or replace function cad._ask(
    space text, query text, image bytea, file bytea, format text, points real[], part uuid, v vector
)
returns cad._query
language plpgsql
stable parallel unsafe
set search_path from current
as $$
declare
    asked cad._query;
    stored constant cad.space := cad._stored_space(space);
    version text;
begin
    asked.vectors := stored.vectors;
    asked.views := stored.views;
    asked.words := cad._check_query(query);
    asked.kind := case
        when v is not null or num_nonnulls(query, image, file) > 1 then 'multi'
        when query is not null then 'text'
        when image is not null then 'image'
        when num_nonnulls(file, points, part) > 0 then 'shape'
    end;
    if asked.kind is null then
        raise exception 'there is nothing to search for'
            using errcode = '22023', hint = 'Give a query text, an image, a file, points, a part or a vector.';
    end if;
    if num_nonnulls(points, part, v) > (num_nonnulls(query, image, file) = 0)::int then
        raise exception 'points, a part and a vector are each searched for alone'
            using errcode = '22023', hint = 'Only a text, an image and a file go together; give points as a file of format npy.';
    end if;
    if query is not null then
        select t.terms, t.weights, t.rare into asked.terms, asked.term_weights, asked.rare_terms
        from cad._lexical_terms(asked.words) as t;
        select t.terms, t.weights, t.rare into asked.english_terms, asked.english_weights, asked.rare_english
        from cad._weighed_terms('lexemes', cad._english_spellings(asked.words)) as t;
        select t.terms, t.weights, t.rare into asked.number_terms, asked.number_weights, asked.rare_numbers
        from cad._number_terms(asked.words) as t;
        asked.part_numbers := cad._part_numbers(asked.words);
    end if;
    asked.by_view := image is not null or v is not null and stored.backend = 'external';

    if v is not null then
        asked.fused_vec := cad._given_vector(stored, v);
    elsif part is not null then
        select p.text_vec, p.image_vec, p.shape_vec, p.brep_vec, p.fused_vec, p.version
        into asked.text_vec, asked.image_vec, asked.shape_vec, asked.brep_vec, asked.fused_vec, version
        from cad._vectors_of(stored, part) as p;
    else
        begin
            select e.text_vec, e.image_vec, e.shape_vec, e.brep_vec, e.fused_vec, e.version
            into asked.text_vec, asked.image_vec, asked.shape_vec, asked.brep_vec, asked.fused_vec, version
            from cad._encode(stored.name, asked.words, image, file, format, points) as e;
        exception when sqlstate '08001' or connection_failure or admin_shutdown then -- absent, lost, stopping
            if asked.kind <> 'text' then
                raise;
            end if;
            raise warning 'the encoder service is away: these hits are by words and part numbers alone'
                using detail = sqlerrm, hint = 'Start the service; cad.doctor() tells where it is expected.';
            return asked;
        end;
    end if;
    if version <> stored.encoder_version then
        raise exception 'the query was encoded by %, the vectors of space % by %',
            version, stored.name, stored.encoder_version
            using errcode = '55000',
                hint = format('Run the encoder that made the vectors, or make them anew: call cad.reembed(%L);', stored.name);
    end if;
    if v is not null or num_nonnulls(image, file) < 2 then
        asked.text_vec := coalesce(asked.text_vec, asked.fused_vec);
    end if;
    asked.image_vec := coalesce(asked.image_vec, asked.fused_vec);
    asked.shape_vec := coalesce(asked.shape_vec, asked.fused_vec);
    return asked;
end
$$;

comment on function cad._ask(text, text, bytea, bytea, text, real[], uuid, vector) is
'A question in every form a search needs. Without a service a text is still asked by its words, with a warning.';
