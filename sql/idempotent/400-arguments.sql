-- What a search may be asked, checked before anything is encoded or read. The keys of filters and options are a
-- table of rules; an unknown key is answered with the known ones, a wrong value with what was expected. A number of
-- JSON may have any size, those here must fit a real: 0, or from $least to $most, and weights such that means of them
-- fit.

create or replace function cad._argument_rule()
returns table (argument text, key text, rule jsonpath, expected text)
language plpgsql
immutable parallel safe
rows 19
set search_path from current
as $$
begin
    return query values
    ('filters', 'family', 'strict $.type() == "string" || '
        '$.type() == "array" && !exists($[*] ? (@.type() != "string"))'::jsonpath,
        'a family name or an array of them'),
    ('filters', 'material', '$.type() == "string"',
        'the name of a material'),
    ('filters', 'tags', 'strict $.type() == "string" || '
        '$.type() == "array" && !exists($[*] ? (@.type() != "string"))',
        'a tag or an array of tags, all of which a part must have'),
    ('filters', 'kind', 'strict $ == "part" || $ == "assembly" || $ == "points"',
        '"part", "assembly" or "points"'),
    ('filters', 'mass_kg',
        '$.type() == "object" && !exists($.keyvalue() ? (!(@.key == "min" || @.key == "max") || @.value.type() != "number"'
        ' || @.value.abs() > $most || @.value.abs() < $least && @.value != 0)) && !($.min > $.max)',
        'an object of numbers in kg (up to 1e30) such as {"min": 0.1, "max": 2}, min not above max'),
    ('filters', 'volume_mm3',
        '$.type() == "object" && !exists($.keyvalue() ? (!(@.key == "min" || @.key == "max") || @.value.type() != "number"'
        ' || @.value.abs() > $most || @.value.abs() < $least && @.value != 0)) && !($.min > $.max)',
        'an object of numbers in mm³ (up to 1e30) such as {"min": 100, "max": 5000}, min not above max'),
    ('filters', 'size_mm',
        '$.type() == "array" && $.size() == 3'
        ' && !exists($[*] ? (@.type() != "number" || @ < 0 || @ > $most || @ < $least && @ != 0))'
        ' || $.type() == "object" && $.extents.type() == "array" && $.extents.size() == 3'
        ' && !exists($.extents[*] ? (@.type() != "number" || @ < 0 || @ > $most || @ < $least && @ != 0))'
        ' && !exists($.tolerance_mm ? (@.type() != "number" || @ < 0 || @ > $most || @ < $least && @ != 0))'
        ' && !exists($.keyvalue() ? (!(@.key == "extents" || @.key == "tolerance_mm")))',
        'three extents in mm (up to 1e30) such as [8, 8, 40], or {"extents": [8, 8, 40], "tolerance_mm": 1}'),
    ('filters', 'created_at',
        '$.type() == "object" && !exists($.keyvalue() ? (!(@.key == "from" || @.key == "to") || @.value.type() != "string"))',
        'an object of times such as {"from": "2026-01-01", "to": "2026-12-31 23:59"}'),
    ('options', 'space', 'strict $.type() == "string" || '
        '$.type() == "array" && $.size() >= 1 && $.size() <= 8 && !exists($[*] ? (@.type() != "string"))',
        'the name of a row of cad.space, or an array of up to 8 of them'),
    ('options', 'boost', '$.type() == "object"',
        'an object of what is preferred, such as {"material": "steel", "size_mm": [8, 8, 40]}'),
    ('options.boost', 'material', '$.type() == "string"',
        'the name of a material'),
    ('options.boost', 'mass_kg',
        '$.type() == "object" && $.near.type() == "number" && $.near >= $least && $.near <= $most'
        ' && !exists($.keyvalue() ? (@.key != "near"))',
        'a mass in kg (above 0, up to 1e30) such as {"near": 0.02}'),
    ('options.boost', 'volume_mm3',
        '$.type() == "object" && $.near.type() == "number" && $.near >= $least && $.near <= $most'
        ' && !exists($.keyvalue() ? (@.key != "near"))',
        'a volume in mm³ (above 0, up to 1e30) such as {"near": 500}'),
    ('options.boost', 'size_mm',
        '$.type() == "array" && $.size() == 3'
        ' && !exists($[*] ? (@.type() != "number" || @ < 0 || @ > $most || @ < $least && @ != 0))',
        'three extents in mm (up to 1e30), in any order, such as [8, 8, 40]'),
    ('options', 'against', 'strict $ == "fused" || $ == "text" || $ == "image" || $ == "shape" || $ == "brep"',
        '"fused", "text", "image", "shape" or "brep"'),
    ('options', 'strategy', 'strict $ == "auto" || $ == "exact" || $ == "hnsw" || $ == "iterative" || $ == "prefix"'
        ' || $ == "bit" || $ == "ivfflat" || $ == "lsh" || $ == "tri" || $ == "resident"',
        '"auto", "exact", "hnsw", "iterative", "prefix", "bit", "ivfflat", "lsh", "tri" or "resident"'),
    ('options', 'weights',
        '$.type() == "object" && !exists($.keyvalue() ? (!(@.key == "text" || @.key == "image" || @.key == "shape"'
        ' || @.key == "brep" || @.key == "fused" || @.key == "lexical" || @.key == "numbers" || @.key == "fit" || @.key == "boost")'
        ' || @.value.type() != "number" || @.value < 0 || @.value > 1e9 || @.value < 1e-9 && @.value != 0))',
        'an object of numbers, each 0 or from 1e-9 to 1e9, such as {"text": 1, "image": 0, "shape": 2, "lexical": 0.5}'),
    ('options', 'min_score', '$.type() == "number" && $.abs() <= $most && ($.abs() >= $least || $ == 0)',
        'a number; scores lie between -1 and 1');
end
$$;
comment on function cad._argument_rule() is
'The keys that filters and options know: the JSON path every value must satisfy, and the same in words.';

create or replace function cad._check_keys(argument text, given jsonb)
returns void
language plpgsql
immutable parallel safe
set search_path from current
as $$
declare
    wrong record;
    bounds constant jsonb := jsonb '{"least": 1e-30, "most": 1e30}';
begin
    if jsonb_typeof(given) <> 'object' then
        raise exception '% must be a JSON object, not %', argument, jsonb_typeof(given)
            using errcode = '22023', hint = 'Give {} for none.';
    end if;
    if given = '{}' then
        return;
    end if;
    if given ? 'features' and argument = 'filters' then
        raise exception 'filters.features needs feature recognition, which this version does not have'
            using errcode = '0A000', hint = 'Leave out features; filter by size_mm, volume_mm3 or family instead.';
    end if;
    select g.key, r.expected into wrong
    from jsonb_each(given) as g
    left join cad._argument_rule() as r on r.argument = _check_keys.argument and r.key = g.key
    where r.key is null or jsonb_path_match(g.value, r.rule, bounds, silent => true) is not true
    order by g.key
    limit 1;
    if not found then
        return;
    end if;
    if wrong.expected is null then
        raise exception '% has no key %', argument, quote_ident(left(wrong.key, 100))
            using errcode = '22023', hint = 'Known keys: ' || (
                select string_agg(r.key, ', ' order by r.key)
                from cad._argument_rule() as r
                where r.argument = _check_keys.argument
            ) || '.';
    end if;
    raise exception '%.% cannot be %', argument, wrong.key, left(given ->> wrong.key, 100)
        using errcode = '22023', hint = 'Expected ' || wrong.expected || '.';
end;
$$;
comment on function cad._check_keys(text, jsonb) is
'Refuses (22023) a filters or options argument with an unknown key or a wrong value, and says what is right.';

create or replace function cad._check_k(k int)
returns void
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    if k between 1 and 10000 then
        return;
    end if;
    raise exception 'k cannot be %', coalesce(k::text, 'null')
        using errcode = '22023', hint = 'k is the number of hits wanted, from 1 to 10000.';
end;
$$;
comment on function cad._check_k(int) is 'Refuses (22023) a number of hits outside 1 to 10,000.';

create or replace function cad._check_query(query text)
returns text
language plpgsql
immutable parallel safe
set search_path from current
as $$
declare
    most constant int := 8192;
begin
    if length(query) > most then
        raise exception 'the query has % characters, more than %', length(query), most
            using errcode = '54000', hint = 'Describe the part in a few words; search a file with search_cad_shape.';
    end if;
    if cad._clean_text(query) is null and query is not null then
        raise exception 'the query is empty'
            using errcode = '22023', hint = 'Give a description or a part number, such as ''M8 flange bolt, 40 mm''.';
    end if;
    return cad._clean_text(query);
end;
$$;
comment on function cad._check_query(text) is
'The query as one line of printable text; refuses an empty one (22023) and one of more than 8,192 characters (54000).';

create or replace function cad._check_filters(family text, filters jsonb)
returns jsonb
language plpgsql
stable parallel unsafe -- the exception block is a subtransaction
set search_path from current
as $$
begin
    filters := coalesce(filters, '{}');
    perform cad._check_keys('filters', filters);
    if filters ? 'created_at' then
        begin
            perform (filters #>> '{created_at,from}')::timestamptz, (filters #>> '{created_at,to}')::timestamptz;
        exception when data_exception then
            raise exception 'filters.created_at cannot be %', left(filters ->> 'created_at', 100)
                using errcode = '22023', hint = 'Expected times such as {"from": "2026-01-01"}; ' || sqlerrm || '.';
        end;
    end if;
    if family is null then
        return filters;
    end if;
    if filters ? 'family' and not cad._texts(filters -> 'family') @> array[family] then
        return filters || jsonb '{"family": []}';
    end if;
    return filters || jsonb_build_object('family', family);
end;
$$;
comment on function cad._check_filters(text, jsonb) is
'The filters of a search, validated, with the argument family as one of them.';

create or replace function cad._check_space(name text)
returns void
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    if exists (select from cad.space as s where s.name = _check_space.name) then
        return;
    end if;
    raise exception 'there is no space %', coalesce(quote_ident(left(name, 100)), 'null')
        using errcode = '22023', hint = 'Known spaces: ' || coalesce((
            select string_agg(s.name, ', ' order by s.name) from cad.space as s
        ), 'none') || '.';
end;
$$;
comment on function cad._check_space(text) is 'Refuses (22023) the name of a space that there is not.';

create or replace function cad._check_options(options jsonb)
returns jsonb
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    chosen jsonb := jsonb '{"space": "cad", "strategy": "auto"}' || coalesce(options, '{}');
begin
    perform cad._check_keys('options', coalesce(options, '{}'));
    perform cad._check_keys('options.boost', coalesce(options -> 'boost', '{}'));
    if jsonb_typeof(chosen -> 'space') = 'array' then
        perform cad._check_space(given.name) from jsonb_array_elements_text(chosen -> 'space') as given (name);
        if (select count(*) <> count(distinct given.name) from jsonb_array_elements(chosen -> 'space') as given (name)) then
            raise exception 'options.space names a space twice: %', left(chosen ->> 'space', 100)
                using errcode = '22023', hint = 'Name each space once; options.weights tells what counts within a space.';
        end if;
        if jsonb_array_length(chosen -> 'space') = 1 then
            chosen := jsonb_set(chosen, '{space}', chosen #> '{space,0}');
        end if;
        return chosen;
    end if;
    perform cad._check_space(chosen ->> 'space');
    return chosen;
end;
$$;
comment on function cad._check_options(jsonb) is
'The options of a search, validated, with their defaults.';
