-- The shipped glossary, the same that the text encoder learned Chinese terms from, and what questions are looked up by
-- in it. A vector tells roughly what a Chinese question means; in parts described in English its words find nothing
-- unless somebody says what they are called there.

with shipped as (
    select
        term[1] as english,
        unnest(string_to_array(term[2], '|')) as chinese
    from regexp_split_to_table($tsv$@glossary_source@$tsv$, '\n') with ordinality as l (line, number),
        string_to_array(l.line, e'\t') as term
    where l.number > 1 and l.line <> ''
),

gone as (
    delete from cad.glossary as g
    where
        g.shipped
        and (g.english, g.chinese) not in (
            select
                s.english,
                s.chinese
            from shipped as s
        )
)

insert into cad.glossary (english, chinese, shipped)
select distinct
    s.english,
    s.chinese,
    true as shipped
from shipped as s
on conflict (chinese, english) do update set shipped = true;

create or replace function cad._english_spellings(query text)
returns text[]
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    found_term record;
    rest text := query;
    spellings text[] := array[]::text[];
begin
    if query !~ '[\u4e00-\u9fff]' then
        return null;
    end if;
    -- The longest terms first, so that 钽电容 is not taken for 钽 and 电容.
    for found_term in
        select
            g.chinese,
            array_agg(distinct array_to_string(
                tsvector_to_array(to_tsvector('simple', cad._lexical_text(g.english))), '&'
            )) as alternatives
        from cad.glossary as g
        where position(g.chinese in query) > 0
        group by g.chinese
        order by length(g.chinese) desc, g.chinese
    loop
        continue when position(found_term.chinese in rest) = 0;
        rest := replace(rest, found_term.chinese, ' ');
        spellings := spellings || case
            when cardinality(found_term.alternatives) = 1 then string_to_array(found_term.alternatives[1], '&')
            else array[array_to_string(found_term.alternatives, ' ')] -- synonyms: one of them will do
        end;
    end loop;
    if cardinality(spellings) = 0 then
        return null;
    end if;
    rest := regexp_replace(rest, '(?<=\d)\s*乘\s*(?=\d)', 'x', 'g');
    rest := regexp_replace(rest, '(?<=\d)\s*毫米', 'mm', 'g');
    rest := regexp_replace(rest, '[\u4e00-\u9fff]+', ' ', 'g');
    return spellings || tsvector_to_array(to_tsvector('simple', cad._lexical_text(rest)));
end
$$;

comment on function cad._english_spellings(text) is
'What a Chinese question is looked for by in English, as far as the glossary knows its terms, with its numbers and names; '
'null where it knows none. One element for each term, as cad._weighed_terms reads them.';
