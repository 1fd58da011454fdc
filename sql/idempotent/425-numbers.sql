-- Numbers that a question names, as terms that cad.model.numbers is asked by. A number may be one step of half a per
-- cent off. A term weighs by how rare it is, as a word does (420-lexical.sql); a length weighs as a length and as a
-- size, so that a part of that size comes before one that only has an edge of that length.

create or replace function cad._number_terms(query text, out terms tsquery[], out weights real[], out rare int)
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    asked jsonb := cad._quantities(query);
    known text[];
    shares real[]; -- behind those of the lexemes stands the lowest: what is not listed is rarer than that
    parts real;
    rows_to_read constant int := 600; -- what may be read to find candidates by single terms
begin
    if not asked ?| array['pitch_mm', 'pins', 'thread_mm', 'length_mm'] then
        return;
    end if;
    select s.most_common_elems::text::text[], s.most_common_elem_freqs, greatest(c.reltuples, 1)
    into known, shares, parts
    from pg_class as c
    left join pg_stats as s on s.schemaname = 'cad' and s.tablename = 'model' and s.attname = 'numbers'
    where c.oid = 'cad.model'::regclass;

    select
        array_agg(t.term order by t.share, t.term),
        array_agg(ln(1 + 1 / t.share) order by t.share, t.term),
        count(*) filter (where t.parts_so_far <= rows_to_read)
    into terms, weights, rare
    from (
        select s.term, s.share, sum(s.share * parts) over (order by s.share, s.term) as parts_so_far
        from (
            select
                array_to_string(spelling.lexemes, ' | ')::tsquery as term,
                (
                    select least(sum(coalesce(
                        shares[array_position(known, l.lexeme)], shares[cardinality(shares)], 1 / parts
                    )), 1)
                    from unnest(spelling.lexemes) as l (lexeme)
                ) as share
            from (
                select distinct array[
                    kind.letter || cad._step(n.number::double precision) - 1,
                    kind.letter || cad._step(n.number::double precision),
                    kind.letter || cad._step(n.number::double precision) + 1
                ] as lexemes
                from (
                    values ('p', 'pitch_mm'), ('l', 'length_mm'), ('s', 'length_mm'), ('l', 'thread_mm'), ('s', 'thread_mm')
                ) as kind (letter, role), lateral jsonb_array_elements_text(asked -> kind.role) as n (number)
                where n.number::double precision > 0
                union all
                select distinct array['n' || n.number::double precision]
                from jsonb_array_elements_text(asked -> 'pins') as n (number)
                limit 32
            ) as spelling
        ) as s
    ) as t;
end
$$;

comment on function cad._number_terms(text) is
'The numbers of a query as terms, rarest first, with their weights; the first so many (rare) can be looked up one by one.';
