-- Many questions in one call. Their vectors are asked of the service together, in batches that its processor likes; it
-- keeps them, so the searches that follow find them made.

create or replace function cad._embed_ahead(queries text[], options jsonb)
returns void
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    batch constant int := 64;
    space text;
begin
    for space in select jsonb_array_elements_text(jsonb_path_query_array(options -> 'space', 'lax $[*]')) loop
        continue when exists (select from cad.space as s where s.name = space and s.backend = 'external');
        for begun in 1 .. coalesce(cardinality(queries), 0) by batch loop
            perform cad.embed_texts(array(select distinct unnest(queries[begun : begun + batch - 1])), 'query', space);
        end loop;
    end loop;
exception when sqlstate '08001' or connection_failure or admin_shutdown then
    null; -- absent: each search says so and goes by words
end
$$;

comment on function cad._embed_ahead(text[], jsonb) is
'Has the service make the vectors of many questions at once; it keeps them for the searches to come.';

create or replace function cad.search_cad_batch(
    queries text[], k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.batch_hit
language plpgsql
stable parallel unsafe
cost 1000000 rows 100
set search_path from current
as $$
declare
    hits cad.hit[];
begin
    queries := cad._check_batch(queries);
    perform cad._embed_ahead(queries, cad._check_options(options));
    for number in 1 .. coalesce(cardinality(queries), 0) loop
        hits := cad._cached_search(k, family, filters, options, query => queries[number]);
        return query select number, hit.* from unnest(hits) as hit;
    end loop;
end
$$;

comment on function cad.search_cad_batch(text[], int, text, jsonb, jsonb) is
'Parts for many texts in one call; query is the place of the text in the list.';

create or replace function cad.search_cad_like_batch(
    model_ids uuid[], k int default 10, family text default null, filters jsonb default '{}', options jsonb default '{}'
)
returns setof cad.batch_hit
language plpgsql
stable parallel unsafe
cost 1000000 rows 100
set search_path from current
as $$
declare
    hits cad.hit[];
begin
    model_ids := cad._check_batch(model_ids);
    for number in 1 .. coalesce(cardinality(model_ids), 0) loop
        hits := cad._cached_search(k, family, filters, options, part => model_ids[number]);
        return query select number, hit.* from unnest(hits) as hit;
    end loop;
end
$$;

comment on function cad.search_cad_like_batch(uuid[], int, text, jsonb, jsonb) is
'Parts like each of many parts, for reports of near duplicates; query is the place of the part in the list.';

create or replace function cad.similarity_matrix(
    model_ids uuid[], others uuid[] default null, against text default 'fused', space text default 'cad'
)
returns table (model_id uuid, other_id uuid, score real)
language plpgsql
stable parallel restricted
rows 10000
set search_path from current
set jit = off
as $$
declare
    vectors regclass;
begin
    perform cad._check_space(space);
    if against is null or against not in ('fused', 'text', 'image', 'shape', 'brep') then
        raise exception 'against cannot be %', coalesce(quote_literal(left(against, 100)), 'null')
            using errcode = '22023', hint = 'Expected fused, text, image, shape or brep.';
    end if;
    select s.vectors into vectors from cad.space as s where s.name = similarity_matrix.space;
    return query execute format($query$
        with chosen as materialized (
            select
                s.model_id,
                s.%I as vector
            from cad.model as m
            inner join %s as s on s.model_id = m.model_id and case when $3 then s.family else s.family || '' end = m.family
            where m.model_id = any ($1) or m.model_id = any ($2)
        )

        select
            l.model_id,
            r.model_id,
            (1 - (l.vector <=> r.vector))::real
        from chosen as l
        inner join chosen as r on r.model_id = any ($2)
        where l.model_id = any ($1) and l.vector <=> r.vector <> 'NaN'
    $query$, against || '_vec', vectors)
    using cad._check_batch(model_ids), cad._check_batch(coalesce(others, model_ids)), cad._sees_partitions(vectors);
end
$$;

comment on function cad.similarity_matrix(uuid[], uuid[], text, text) is
'How alike parts are, each of a list with each of another (the same one if none is given): cosine of their vectors of one '
'kind. Parts without such a vector, and those that the caller may not see, are left out.';
