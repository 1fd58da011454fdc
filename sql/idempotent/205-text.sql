-- Texts: those from outside end up in terminals and web pages, those of a part in its text vector.

create or replace function cad._clean_text(source text) returns text
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    -- The same as pgcad.geometry.text does: what is invisible goes, what is blank becomes one blank.
    return nullif(btrim(regexp_replace(
        regexp_replace(
            source,
            '[\u0001-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]',
            '', 'g'
        ),
        '[\s\u0085\u00a0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+', ' ', 'g'
    )), '');
end
$$;

comment on function cad._clean_text(text) is
'One line of printable text: control and text-direction characters dropped, blanks collapsed. Null where nothing is left.';

create or replace function cad._passage(
    name text, description text, description_zh text, description_generated boolean
) returns text
language plpgsql immutable parallel safe
set search_path from current
as $$
declare
    blank constant text := e' \t\n\r\f\v';
    title constant text := coalesce(btrim(name, blank), '');
    english constant text := coalesce(btrim(description, blank), '');
    chinese constant text := coalesce(btrim(description_zh, blank), '');
begin
    -- The same as pgcad.encoders.text and pgcad.geometry.text do; the encoder reads no further than that.
    if description_generated then
        return case
            when title ~ '[A-Za-z\u00c0-\u024f\u0370-\u052f]{3}|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]'
                and rtrim(lower(title), '0123456789 .:_-') <> all (
                    '{unnamed,compound,solid,shape,part,assembly,assem,none,mesh}'
                )
                and lower(title) !~ '^(open cascade|unnamed )' then left(title, 4000)
            else ''
        end;
    end if;
    return left(concat_ws(
        '. ',
        case when not (starts_with(english, title) or starts_with(chinese, title)) then rtrim(title, '.') end,
        rtrim(nullif(english, ''), '.'),
        rtrim(nullif(chinese, ''), '.')
    ), 4000);
end
$$;

comment on function cad._passage(text, text, text, boolean) is
'The text that is embedded for a part: its name, unless a description begins with it, and its descriptions. Of a part '
'that nobody described the name alone, and nothing where that says nothing.';

create or replace function cad._text_md5(
    name text, description text, description_zh text, description_generated boolean
) returns uuid
language plpgsql immutable parallel safe
set search_path from current
as $$
begin
    return md5(cad._passage(name, description, description_zh, description_generated))::uuid;
end
$$;

comment on function cad._text_md5(text, text, text, boolean) is
'What a row of vectors remembers of the text it was made of, so that a change of the text is noticed.';
