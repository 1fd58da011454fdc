-- The lexical side of a search. A term of the query weighs by how rare it is: the planner's own statistics say how
-- many parts have it (ln(1 + 1/share), the inverse document frequency). The lexical score of a part is the share of
-- the query's weight that its lexemes hold, so it lies between 0 and 1 however long the query is.

create or replace function cad._lexical_terms(query text, out terms tsquery[], out weights real[], out rare int)
language sql
stable parallel safe
set search_path from current
as $$
    with statistic as (
        select
            s.most_common_elems::text::text[] as lexemes,
            s.most_common_elem_freqs as shares,
            c.reltuples as parts
        from pg_class as c
        left join pg_stats as s on s.schemaname = 'cad' and s.tablename = 'model' and s.attname = 'lexemes'
        where c.oid = 'cad.model'::regclass
    ),

    -- Behind the shares of the lexemes stands the lowest of them: what is not listed is rarer than that.
    term as (
        select
            array_to_tsvector(array[word.lexeme])::text::tsquery as term,
            coalesce(
                statistic.shares[array_position(statistic.lexemes, word.lexeme)],
                statistic.shares[cardinality(statistic.lexemes) + 1],
                1 / greatest(statistic.parts, 1)
            ) as share,
            statistic.parts
        from unnest(to_tsvector('simple', cad._lexical_text(query))) as word
        cross join statistic
        order by 2
        limit 64
    ),

    counted as (
        select
            term.term,
            ln(1 + 1 / term.share) as weight,
            sum(term.share * term.parts) over (order by term.share, term.term) as parts_so_far,
            row_number() over (order by term.share, term.term) as ordinal
        from term
    )

    select
        array_agg(counted.term order by counted.ordinal),
        array_agg(counted.weight order by counted.ordinal),
        greatest(1, count(*) filter (where counted.parts_so_far <= 1500))::int
    from counted
$$;

comment on function cad._lexical_terms(text) is
'The terms of a query, rarest first, with their weights; the first so many (rare) are worth looking up one by one.';

create or replace function cad._part_numbers(query text)
returns text[]
language sql
immutable strict parallel safe
set search_path from current
as $$
    select array_agg(number order by ordinal)
    from (
        select query as number, 0 as ordinal
        where length(query) <= 64
        union
        (
            select btrim(word.text, '.,;:()[]"'''), word.ordinal
            from regexp_split_to_table(query, '\s+') with ordinality as word (text, ordinal)
            where word.text ~ '\d' and length(word.text) between 4 and 64 and word.text <> query
            limit 7
        )
    ) as candidate
$$;

comment on function cad._part_numbers(text) is
'What in a query may be a part number: the whole of a short query, and its words with a digit.';

create or replace function cad._lexical_candidates(asked cad._query, filters jsonb, most int)
returns uuid[]
language plpgsql
stable parallel safe
set search_path from current
set plan_cache_mode = force_custom_plan
as $$
begin
    return array(
        select found.model_id
        from (
            -- the part of that number
            select m.model_id, 'infinity'::real as weight
            from cad._matching(filters) as m
            where m.part_number = any (array[asked.words, upper(asked.words), lower(asked.words)])
            union all
            -- numbers that look like it
            (
                select m.model_id, 10 * similarity(m.part_number, number.text)
                from unnest(asked.part_numbers) as number (text)
                inner join cad._matching(filters) as m on m.part_number % number.text
                order by 2 desc
                limit most
            )
            union all
            -- parts that hold rare terms
            select m.model_id, t.weight
            from unnest(asked.terms[:asked.rare_terms], asked.term_weights[:asked.rare_terms]) as t (term, weight)
            inner join cad._matching(filters) as m on m.lexemes @@ t.term
            union all
            -- parts that hold every term, however common
            (
                select m.model_id, 5
                from cad._matching(filters) as m
                where m.lexemes @@ array_to_string(asked.terms, ' & ')::tsquery
                limit most
            )
        ) as found
        group by found.model_id
        order by sum(found.weight) desc, found.model_id
        limit most
    );
end
$$;

comment on function cad._lexical_candidates(cad._query, jsonb, int) is
'The parts whose number or words answer a query best, at most so many.';
