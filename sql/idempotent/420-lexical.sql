-- The lexical side of a search. A term of the query weighs by how rare it is: the planner's own statistics say how
-- many parts have it (ln(1 + 1/share), the inverse document frequency). The lexical score of a part is the share of
-- the query's weight that its lexemes hold, so it lies between 0 and 1 however long the query is.

create or replace function cad._weighed_terms(
    attribute text, spellings text[], out terms tsquery[], out weights real[], out rare int
)
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    known text[];
    shares real[]; -- behind those of the known lexemes stands the lowest: what is not listed is rarer than that
    parts real;
    rows_to_read constant int := 600; -- what may be read to find candidates by single terms
begin
    if spellings = '{}' then
        return;
    end if;
    select s.most_common_elems::text::text[], s.most_common_elem_freqs, greatest(c.reltuples, 1)
    into known, shares, parts
    from pg_class as c
    left join pg_stats as s on s.schemaname = 'cad' and s.tablename = 'model' and s.attname = attribute
    where c.oid = 'cad.model'::regclass;

    select
        array_agg(t.term order by t.share, t.term),
        array_agg(ln(1 + 1 / t.share) order by t.share, t.term),
        count(*) filter (where t.parts_so_far <= rows_to_read)
    into terms, weights, rare
    from (
        select
            spelled.term, spelled.share,
            sum(spelled.share * parts) over (order by spelled.share, spelled.term) as parts_so_far
        from (
            select
                string_agg(a.term, ' | ')::tsquery as term,
                least(sum(a.share), 1) as share
            from unnest(spellings) with ordinality as s (spelling, place)
            cross join lateral unnest(string_to_array(s.spelling, ' ')) as alternatives (alternative)
            cross join lateral (
                select
                    string_agg(array_to_tsvector(array[l.lexeme])::text, ' & ') as term,
                    min(coalesce(
                        shares[array_position(known, l.lexeme)], shares[cardinality(known) + 1], 1 / parts
                    )) as share
                from unnest(string_to_array(alternatives.alternative, '&')) as l (lexeme)
            ) as a
            group by s.place
            order by share
            limit 64
        ) as spelled
    ) as t;
end
$$;

comment on function cad._weighed_terms(text, text[]) is
'Terms of which a column of lexemes of cad.model may hold any, rarest first, with their weights; the first so many (rare) '
'are few enough to be looked up one by one. A term is one lexeme, or several alternatives with blanks between that count '
'as one; an alternative may be several lexemes with & between, all of which it takes.';

create or replace function cad._lexical_terms(query text, out terms tsquery[], out weights real[], out rare int)
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    select t.terms, t.weights, greatest(1, t.rare) into terms, weights, rare
    from cad._weighed_terms('lexemes', tsvector_to_array(to_tsvector('simple', cad._lexical_text(query)))) as t;
end
$$;

comment on function cad._lexical_terms(text) is
'The words of a query as terms, rarest first, with their weights; the first so many (rare) can be looked up one by one.';

create or replace function cad._part_numbers(query text)
returns text[]
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
declare
    figures constant text := '[\d.,/x×*+-]{1,9}(mm|cm|m|in|inch|mil|[kmµunp]?[avwfhω]|[mkg]?hz|pins?|ways?|pol|°|%)?';
    measure constant text := '^' || figures || '([/x×*+-]' || figures || ')*([²³]|\^\d)?$';
begin
    return array(
        select w.word
        from regexp_split_to_table(query, '\s+') as t (piece), lateral btrim(t.piece, '.,;:()[]"''') as w (word)
        where w.word ~ '\d' and length(w.word) between 4 and 64 and w.word !~ '=' and w.word !~* measure
        limit 8
    );
end
$$;

comment on function cad._part_numbers(text) is
'Words of a query that may be a part number, perhaps a mistyped one: those with a digit, of four characters or more, that '
'are no measure such as 2.54mm, 2x10 or pitch=2mm, which any number would look like.';

create or replace function cad._lexical_candidates(asked cad._query, filters jsonb, most int)
returns uuid[]
language plpgsql
stable parallel safe
set search_path from current
set plan_cache_mode = force_custom_plan
set jit = off
as $$
declare
    whole_weight real := coalesce((select sum(w) from unnest(asked.term_weights) as w), 1);
    spellings text[] := array[asked.words, upper(asked.words), lower(asked.words)];
    -- With what the glossary makes of the query: together, because each branch below may be a scan of its own.
    rare_terms tsquery[] := asked.terms[:asked.rare_terms] || asked.english_terms[:asked.rare_english];
    rare_weights real[] := asked.term_weights[:asked.rare_terms] || asked.english_weights[:asked.rare_english];
    every_term text := concat_ws(
        ' | ',
        (select string_agg(format('(%s)', t), ' & ') from unnest(asked.terms) as t),
        (select string_agg(format('(%s)', t), ' & ') from unnest(asked.english_terms) as t)
    );
    rare_numbers tsquery[] := asked.number_terms[:asked.rare_numbers];
begin
    if filters = '{}' then -- then every plan is the same one, and planning takes longer than looking
        perform set_config('plan_cache_mode', 'force_generic_plan', true);
    end if;
    return array(
        select found.model_id
        from (
            -- the parts of that number
            select m.model_id, 'infinity'::real as weight
            from cad._matching(filters) as m
            where m.part_number = any(spellings)
            union all
            (
                select m.model_id, 'infinity'
                from cad._matching(filters) as m
                where m.aliases && spellings and asked.words ~ '\d'
                limit most
            )
            union all
            -- numbers that look like it
            (
                select m.model_id, whole_weight * similarity(m.part_number, number.text)
                from unnest(asked.part_numbers) as number (text)
                inner join cad._matching(filters) as m on m.part_number % number.text
                order by 2 desc
                limit most
            )
            union all
            -- parts that hold every term, however common the terms are
            (
                select m.model_id, whole_weight
                from cad._matching(filters) as m
                where m.lexemes @@ every_term::tsquery
                limit most
            )
            union all
            -- parts that hold rare terms, in one scan: under row level security no index serves it
            select m.model_id, (
                select sum(t.weight)
                from unnest(rare_terms, rare_weights) as t (term, weight)
                where whole.lexemes @@ t.term
            )
            from cad._matching(filters) as m
            cross join lateral (select m.lexemes || '' as lexemes offset 0) as whole -- unpacked once
            where m.lexemes @@ array_to_string(rare_terms, ' | ')::tsquery
            union all
            -- parts that measure rare numbers
            select m.model_id, (
                select sum(t.weight)
                from unnest(rare_numbers, asked.number_weights) as t (term, weight)
                where whole.numbers @@ t.term
            )
            from cad._matching(filters) as m
            cross join lateral (select m.numbers || '' as numbers offset 0) as whole
            where m.numbers @@ nullif(array_to_string(rare_numbers, ' | '), '')::tsquery
        ) as found
        group by found.model_id
        order by sum(found.weight) desc, found.model_id
        limit most
    );
end
$$;

comment on function cad._lexical_candidates(cad._query, jsonb, int) is
'The parts whose number, words or measured numbers answer a query best, at most so many.';
