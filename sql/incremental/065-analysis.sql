-- What the encoder service answers about one file of the queue.

create type cad._analysis as (
    ingest_id bigint,
    error jsonb,
    elapsed_ms real,
    encoder_version text,
    report text,
    mesh bytea,
    points bytea,
    silhouettes bytea,
    thumbnail bytea,
    views bytea[], -- noqa: LT01
    vectors text[], -- noqa: LT01
    brep bytea
);

comment on type cad._analysis is
'Answer about one file: an error, or report, files, view pictures, vectors (text, image, shape, B-rep, fused, ten views) and '
'B-rep (empty where there is none). '
'Report and vectors are as the service sent them; converting them may fail, and that is the failure of this file alone.';
