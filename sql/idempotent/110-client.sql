-- The Python side of every function that asks the encoders. extensions/build.py puts python_udfs/pgcad/client.py in
-- here, so the server needs no PYTHONPATH and the code is versioned with the extension. Compiled once per session.

create or replace function cad._client() returns void
language plpython3u volatile parallel restricted
set search_path from current
as $python$
import sys
import types

client = types.ModuleType('pgcad_client')
source = r'''@client_source@'''.replace('\n\t', '\n')  # PL/Python indents the body, strings included
exec(compile(source, 'pgcad/client.py', 'exec'), client.__dict__)


def answers(requests, timeout='timeout_ms'):
    """`(index, answer or ServiceError, payloads)` for requests `(op, header, payloads)`, in any order."""
    settings = plpy.execute('select * from cad._encoder_settings()')[0]
    if settings['mode'] == 'service':
        def poll():
            return plpy.execute('select')
        return client.call_many(settings['socket'], requests, settings[timeout], poll, GD)
    if settings['mode'] == 'inline':
        return inline_answers(requests, settings['python_path'])
    raise client.ServiceError('22023', f"pgcad.encoder is {settings['mode']!r}", hint='Set it to service or inline.')


def inline_answers(requests, python_path):
    """The same answers from models and geometry kernels loaded into this backend."""
    if python_path and python_path not in sys.path:
        sys.path.append(python_path)
    try:
        from pgcad.service.dispatch import inline
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


def answer(op, header, payloads=()):
    """The answer to one request; an SQL error where it failed."""
    try:
        [(_, reply, bodies)] = answers([(op, header, payloads)])
    except client.ServiceError as error:
        reply = error
    if isinstance(reply, client.ServiceError):
        plpy.error(reply.message, detail=reply.detail or None, hint=reply.hint or None, sqlstate=reply.sqlstate)
    return reply, bodies


GD['pgcad @client_sha256@'] = types.SimpleNamespace(
    answer=answer, answers=answers, ServiceError=client.ServiceError,
    float_bytes=client.float_bytes, vector_literals=client.vector_literals)
$python$;

comment on function cad._client() is 'Loads the client of the encoder service into this session.';

create or replace function cad._float_bytes(numbers real[]) returns bytea
language plpython3u immutable strict parallel safe
set search_path from current
as $python$
import struct

rows = numbers if numbers and isinstance(numbers[0], list) else [numbers]
flat = [number for row in rows for number in row]
if None in flat:
    plpy.error('an array of points holds a null', hint='Every point needs three numbers.', sqlstate='22004')
return struct.pack(f'<{len(flat)}f', *flat)
$python$;

comment on function cad._float_bytes(real[]) is 'An array as float32 little-endian, row by row: the form of the protocol.';
