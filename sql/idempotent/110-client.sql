-- The Python side of every function that asks the encoders. extensions/build.py puts python_udfs/pgcad/client.py in
-- here, so the server needs no PYTHONPATH and the code is versioned with the extension. Compiled once per session.

create or replace function cad._client() returns void
language plpython3u volatile parallel unsafe
set search_path from current
as $python$
import json
import math
import site
import sys
import types

client = types.ModuleType('pgcad_client')
source = r'''@client_source@'''.replace('\n\t', '\n')  # PL/Python indents the body, strings included
exec(compile(source, 'pgcad/client.py', 'exec'), client.__dict__)


def answers(requests, timeout='timeout_ms', at_most_ms=math.inf):
    """`(index, answer or ServiceError, payloads)` for requests `(op, header, payloads)`, in any order."""
    settings = plpy.execute('select * from cad._encoder_settings()')[0]
    timeout_ms = min(client.milliseconds('pgcad.' + timeout, settings[timeout]), at_most_ms)
    if settings['mode'] == 'service':
        def poll():
            return plpy.execute('select')
        return client.call_many(settings['socket'], requests, timeout_ms, poll, GD)
    if settings['mode'] == 'inline':
        return inline_answers(requests, settings['python_path'])
    raise client.ServiceError('22023', f"pgcad.encoder is {settings['mode']!r}", hint='Set it to service or inline.')


def inline_answers(requests, python_path):
    """The same answers from models and geometry kernels loaded into this backend."""
    if python_path and python_path not in sys.path:
        site.addsitedir(python_path)
    try:
        from pgcad.service.inline import inline
    except ImportError as error:
        raise client.ServiceError(
            '55000', f'pgcad.encoder is inline, but this server cannot import pgcad: {error}',
            hint='Install the Python package for the server, name its folder in pgcad.python_path, or use service.')
    for index, (op, header, payloads) in enumerate(requests):
        try:
            answer, bodies = inline(op, header, list(payloads))
            yield index, answer, bodies
        except Exception as error:
            if not hasattr(error, 'sqlstate') or isinstance(error, plpy.SPIError):
                raise
            yield index, client.ServiceError(error.sqlstate, error.message, error.detail, error.hint), []


def encoder_of(space):
    """What the service must know of a space: as its row says, never as a caller does."""
    query = plpy.prepare('select s.dim, s.backend, s.encoder from cad.space as s where s.name = $1', ['text'])
    rows = plpy.execute(query, [space])
    if not rows:
        known = ', '.join(row['name'] for row in plpy.execute('select s.name from cad.space as s order by s.name'))
        raise client.ServiceError('22023', f'there is no space {space[:100]!r}', hint=f'Known spaces: {known}.')
    dim, backend, encoder = rows[0]['dim'], rows[0]['backend'], json.loads(rows[0]['encoder'])
    if backend == 'external':
        raise client.ServiceError(
            '0A000', f'space {space} has no encoder: its vectors are imported',
            hint='Search it with cad.search_cad_vector or cad.search_cad_like; fill it with pgcad import-vectors.')
    return {'dim': dim, 'encoder': {**encoder, 'backend': backend} if encoder else None}


def error_fields(error):
    fields = {'sqlstate': error.sqlstate, 'message': error.message, 'detail': error.detail, 'hint': error.hint}
    return {name: text.encode('utf-8', 'replace').decode().replace('\0', '') for name, text in fields.items()}


GD['pgcad @client_sha256@'] = types.SimpleNamespace(
    answers=answers, encoder_of=encoder_of, error_fields=error_fields, ServiceError=client.ServiceError,
    vector_literals=client.vector_literals)
$python$;

comment on function cad._client() is 'Loads the client of the encoder service into this session.';

create or replace function cad._request(
    op text, header jsonb, payloads bytea[], out reply jsonb, out vectors halfvec[], out error jsonb
)
language plpython3u stable parallel unsafe cost 10000
set search_path from current
as $python$
import json
import math

if 'pgcad @client_sha256@' not in GD:
    plpy.execute('select cad._client()')
pgcad = GD['pgcad @client_sha256@']
asked = json.loads(header)
asked.pop('encoder', None)  # whoever may choose it sends the service wherever they like
timeout = 'ingest_timeout_ms' if op in ('embed_parts', 'train_codebook') else 'timeout_ms'
at_most_ms = 2000 if op == 'health' else math.inf  # it is there to tell that the service hangs
try:
    if (space := asked.get('space', 'cad')) != 'cad':  # whose encoder the service has without being told
        asked.update(pgcad.encoder_of(space))
    [(_, reply, bodies)] = pgcad.answers([(op, asked, payloads)], timeout=timeout, at_most_ms=at_most_ms)
except pgcad.ServiceError as error:
    reply = error
if isinstance(reply, pgcad.ServiceError):
    return None, None, json.dumps(pgcad.error_fields(reply))
return json.dumps(reply), pgcad.vector_literals(bodies[0], reply['dim']) if bodies else None, None
$python$;

comment on function cad._request(text, jsonb, bytea[]) is
'One request to the encoders, with the encoder of its space as cad.space has it. A failure comes back as error, to be '
'raised without a Python traceback.';

create or replace function cad._raise(error jsonb) returns void
language plpgsql immutable strict parallel safe
set search_path from current
as $$
declare
    advice text := coalesce(nullif(error ->> 'hint', ''), 'select * from cad.doctor(); tells whether pgcad itself is well.');
begin
    if coalesce(error ->> 'detail', '') = '' then -- an empty one would be shown
        raise exception using errcode = error ->> 'sqlstate', message = error ->> 'message', hint = advice;
    end if;
    raise exception using
        errcode = error ->> 'sqlstate',
        message = error ->> 'message',
        detail = error ->> 'detail',
        hint = advice;
end
$$;

comment on function cad._raise(jsonb) is 'Raises a failure of the encoders as an SQL error.';

create or replace function cad._float_bytes(sent bytea) returns bytea
language plpython3u immutable strict parallel safe
set search_path from current
as $python$
import array

header = 12 + 2 * 8  # dimensions, flags and type; then size and lower bound of each of the two dimensions
elements = array.array('I', sent[header:])  # the length of each number, and the number
elements.byteswap()
return elements[1::2].tobytes()
$python$;

comment on function cad._float_bytes(bytea) is
'A two-dimensional real[] without nulls, as array_send sends it, as float32 little-endian row by row: the form of the '
'protocol. No number becomes an object on the way.';
