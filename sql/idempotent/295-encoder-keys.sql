-- What cad.add_space may be told of an encoder, key by key. The same rules as for filters and options: a JSON path that
-- the value must satisfy, and the same in words.

create or replace function cad._encoder_rule()
returns table (backend text, key text, required boolean, rule jsonpath, expected text)
language sql immutable parallel safe rows 12
set search_path from current
as $$
    values
    ('native', 'tower', true, 'strict $ == "brep"'::jsonpath,
        '"brep": the tower of the shipped weights for exact geometry'),
    ('open_clip', 'architecture', true, '$.type() == "string" && $ like_regex "^[A-Za-z0-9][A-Za-z0-9_./:-]{0,99}$"',
        'the name of an architecture of open_clip, such as "ViT-B-32"'),
    ('open_clip', 'checkpoint', true, '$.type() == "string" && $ like_regex '
        '"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\\.(safetensors|pt|pth|bin)$"',
        'a file .safetensors, .pt, .pth or .bin below the folder that the service was given with --models, such as '
        '"clip.safetensors"'),
    ('http', 'dialect', true, 'strict $ == "openai" || $ == "dashscope"',
        '"openai" or "dashscope"'),
    ('http', 'url', true, '$.type() == "string" && $ like_regex "^https?://[^/?#@\\s]+([/?][^#@\\s]*)?$"'
        ' && !($ like_regex "[?&][^=&]*(key|token|secret|password|signature)" flag "i")',
        'an address such as "https://host/v1/embeddings", without a name or a key in it'),
    ('http', 'model', true, '$.type() == "string" && $ like_regex "^[^\\s@]{1,200}$"',
        'the name of a model at that address'),
    ('http', 'key_env', false, '$.type() == "string" && $ like_regex "^PGCAD_KEY_[A-Z0-9_]{1,100}$"',
        'the environment variable of the service that holds the key; its name begins with PGCAD_KEY_'),
    ('http', 'modalities', true,
        'strict $.type() == "array" && $.size() > 0 && !exists($[*] ? (!(@ == "text" || @ == "image")))',
        'what the model reads: ["text"], ["image"] or ["text", "image"]'),
    ('http', 'batch', false, '$.type() == "number" && $ >= 1 && $ <= 256 && $.floor() == $',
        'how many texts or pictures go into one request: a whole number from 1 to 256'),
    ('http', 'requests_per_minute', false, '$.type() == "number" && $ >= 1 && $ <= 1000000 && $.floor() == $',
        'a whole number from 1 to 1000000'),
    ('http', 'timeout_s', false, '$.type() == "number" && $ >= 0.1 && $ <= 600',
        'seconds to wait for one answer: from 0.1 to 600'),
    ('http', 'retries', false, '$.type() == "number" && $ >= 0 && $ <= 10 && $.floor() == $',
        'how often a request is tried again: a whole number from 0 to 10')
$$;

comment on function cad._encoder_rule() is
'The keys that an encoder of each backend knows: the JSON path every value must satisfy, and the same in words.';

create or replace function cad._check_encoder(backend text, encoder jsonb, dim integer) returns void
language plpgsql immutable parallel safe
set search_path from current
as $$
declare
    backends constant text[] := array['native', 'open_clip', 'http', 'external'];
    wrong record;
begin
    if backend is null or backend <> all(backends) then
        raise exception 'there is no backend %', coalesce(quote_literal(left(backend, 100)), 'null')
            using errcode = '22023', hint = format('Use one of %s.', array_to_string(backends, ', '));
    end if;
    if jsonb_typeof(encoder) is distinct from 'object' then
        raise exception 'the encoder of a space must be a JSON object, not %', coalesce(jsonb_typeof(encoder), 'null')
            using errcode = '22023', hint = 'An external space has none: leave it out.';
    end if;
    select coalesce(g.key, r.key) as key, r.expected, g.key is null as missing into wrong
    from jsonb_each(encoder) as g
    full join (
        select * from cad._encoder_rule() as known where known.backend = _check_encoder.backend
    ) as r on r.key = g.key
    where (g.key is not null or r.required)
        and (g.key is null or r.key is null or jsonb_path_match(g.value, r.rule, silent => true) is not true)
    order by r.key is null desc, 1
    limit 1;
    if wrong.key is null then
        null;
    elsif wrong.missing then
        raise exception 'the encoder of a space of backend % needs the key %', backend, wrong.key
            using errcode = '22023', hint = 'Expected ' || wrong.expected || '.';
    elsif wrong.expected is null then
        raise exception 'the encoder of a space of backend % has no key %', backend, quote_ident(left(wrong.key, 100))
            using errcode = '22023', hint = coalesce('Known keys: ' || (
                select string_agg(r.key, ', ' order by r.key)
                from cad._encoder_rule() as r
                where r.backend = _check_encoder.backend
            ) || '.', 'It has none: leave the encoder out.');
    else
        raise exception 'encoder.% cannot be %', wrong.key, left(encoder ->> wrong.key, 100)
            using errcode = '22023', hint = 'Expected ' || wrong.expected || '.';
    end if;
    if encoder ? 'key_env' and encoder ->> 'url' !~ '^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])' then
        raise exception 'a key would go to % unencrypted', encoder ->> 'url'
            using errcode = '22023', hint = 'Take an address that begins with https://, or leave out key_env.';
    end if;
    if backend = 'native' and dim <> 512 then
        raise exception 'a space of backend native has 512 dimensions, not %', dim
            using errcode = '22023', hint = 'Give 512.';
    end if;
end
$$;

comment on function cad._check_encoder(text, jsonb, integer) is
'Refuses (22023) an unknown backend, and an encoder with an unknown, missing or wrong key, and says what is right.';
