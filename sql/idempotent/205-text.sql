-- Texts from outside end up in terminals and web pages.

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
