-- The numbers of a question. extensions/build.py puts python_udfs/pgcad/encoders/quantities.py in here, which the text
-- encoder reads texts with too: both sides agree on what is a pitch.

create or replace function cad._quantities(query text) returns jsonb
language plpython3u immutable strict parallel safe
set search_path from current
as $python$
import json
import types

if 'pgcad quantities @quantities_sha256@' not in GD:
    module = types.ModuleType('pgcad_quantities')
    source = r'''@quantities_source@'''.replace('\n\t', '\n')  # PL/Python indents the body, strings included
    exec(compile(source, 'pgcad/quantities.py', 'exec'), module.__dict__)
    GD['pgcad quantities @quantities_sha256@'] = module.quantities
return json.dumps(GD['pgcad quantities @quantities_sha256@'](query))
$python$;

comment on function cad._quantities(text) is
'Numbers of a text by role: pitch_mm, rows, columns, pins, thread_mm, length_mm, number.';
