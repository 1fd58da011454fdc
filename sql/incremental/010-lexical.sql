-- Lexical text of a part. The generated column cad.model.lexemes depends on these functions and queries must be cut
-- up in the same way, so they are frozen with the tables.

create function cad._cjk_grams(run text) returns text
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    -- Chinese has no spaces: single characters find short words, overlapping pairs rank real words higher.
    return (
        select string_agg(substr(run, start, width), ' ' order by start, width)
        from generate_series(1, char_length(run)) as start, generate_series(1, 2) as width
        where start + width - 1 <= char_length(run)
    );
end
$$;

comment on function cad._cjk_grams(text) is
'Single characters and overlapping pairs of a run of Chinese characters, separated by spaces.';

create function cad._word_parts(word text) returns text
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    -- Searchable parts of one lower-case word:
    --   m8x40 -> m8, 40         dimensions between x
    --   p2.54mm -> 2.54mm, 2.54 a number with its unit, and the number alone
    --   iso4762 -> iso, 4762    a name of two letters or more and its number
    return (
        with piece as (
            select p.text, p.ordinal
            from regexp_split_to_table(word, '(?<=[0-9])x(?=[0-9])') with ordinality as p (text, ordinal)
        ),

        part as (
            select piece.ordinal, 1 as step, piece.text
            from piece
            union all
            select piece.ordinal, 2, (regexp_match(piece.text, '^[a-z](\d+(?:\.\d+)?[a-zμ°]+)$'))[1]
            from piece
            union all
            select piece.ordinal, 3, (regexp_match(piece.text, '^[a-z]?(\d+(?:\.\d+)?)[a-zμ°]+$'))[1]
            from piece
            union all
            select piece.ordinal, 4, unnest(regexp_match(piece.text, '^([a-z]{2,})(\d+(?:\.\d+)?)$'))
            from piece
        )

        select string_agg(part.text, ' ' order by part.ordinal, part.step)
        from part
        where part.text is not null and part.text <> word
    );
end
$$;

comment on function cad._word_parts(text) is
'What else one lower-case word may be looked for by: dimensions, numbers without units, names without numbers.';

create function cad._lexical_text(source text) returns text
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    return (
        with word as (
            select m.match[1] as text, m.ordinal
            from regexp_matches(
                translate(lower(normalize(source, nfkc)), '×✕µø', 'xxμ '),
                '[\u3400-\u9fff\uf900-\ufaff]+|(?:(?![\u3400-\u9fff\uf900-\ufaff])[[:alnum:]])+(?:\.[0-9]+(?:(?![\u3400-\u9fff\uf900-\ufaff])[[:alnum:]])*)*',
                'g'
            ) with ordinality as m (match, ordinal)
        )

        select coalesce(string_agg(
            case
                when word.text ~ '^[\u3400-\u9fff\uf900-\ufaff]' then cad._cjk_grams(word.text)
                else concat_ws(' ', word.text, cad._word_parts(word.text))
            end, ' ' order by word.ordinal
        ), '')
        from word
    );
end
$$;

comment on function cad._lexical_text(text) is
'Words of a text as the lexical index knows them: lower case, dimensions and units split, Chinese as pairs.';
