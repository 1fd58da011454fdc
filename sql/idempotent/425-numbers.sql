-- Numbers that a question names, as terms that cad.model.numbers is asked by. A number may be one step of half a per
-- cent off. A term weighs by how rare it is, as a word does (420-lexical.sql); a length weighs as a length and as a
-- size, so that a part of that size comes before one that only has an edge of that length.

create or replace function cad._number_terms(query text, out terms tsquery[], out weights real[], out rare int)
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    asked constant jsonb := cad._quantities(query);
begin
    select t.terms, t.weights, t.rare into terms, weights, rare
    from cad._weighed_terms('numbers', array(
        select distinct concat_ws(' ', kind.letter || at.step - 1, kind.letter || at.step, kind.letter || at.step + 1)
        from (
            values ('p', 'pitch_mm'), ('l', 'length_mm'), ('s', 'length_mm'), ('l', 'thread_mm'), ('s', 'thread_mm')
        ) as kind (letter, role)
        cross join lateral jsonb_array_elements_text(asked -> kind.role) as n (number)
        cross join lateral cad._step(nullif(n.number::double precision, 0)) as at (step)
        where at.step is not null
        union all
        select distinct 'n' || n.number::double precision
        from jsonb_array_elements_text(asked -> 'pins') as n (number)
        limit 32
    )) as t;
end
$$;

comment on function cad._number_terms(text) is
'The numbers of a query as terms, rarest first, with their weights; the first so many (rare) can be looked up one by one.';
