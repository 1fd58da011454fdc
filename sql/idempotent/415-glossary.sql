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

create or replace function cad._in_english(query text)
returns text
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    found_term record;
    rest text := query;
    english text[] := array[]::text[];
begin
    if query !~ '[\u4e00-\u9fff]' then
        return null;
    end if;
    -- The longest terms first, so that 钽电容 is not taken for 钽 and 电容.
    for found_term in
        select g.chinese, string_agg(g.english, ' ' order by g.english) as english
        from cad.glossary as g
        where position(g.chinese in query) > 0
        group by g.chinese
        order by length(g.chinese) desc, g.chinese
    loop
        if position(found_term.chinese in rest) > 0 then
            rest := replace(rest, found_term.chinese, ' ');
            english := english || found_term.english;
        end if;
    end loop;
    if cardinality(english) = 0 then
        return null;
    end if;
    rest := regexp_replace(rest, '(?<=\d)\s*乘\s*(?=\d)', 'x', 'g');
    rest := regexp_replace(rest, '(?<=\d)\s*毫米', 'mm', 'g');
    return concat_ws(' ', array_to_string(english, ' '), regexp_replace(rest, '[\u4e00-\u9fff]+', ' ', 'g'));
end
$$;

comment on function cad._in_english(text) is
'The terms of a Chinese question that the glossary knows, in English, with its numbers and names; null where it knows none.';
