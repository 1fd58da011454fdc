-- What the encoder service answers about one file of the queue.

create type cad._analysis as (
    ingest_id bigint,
    error jsonb,
    elapsed_ms real,
    encoder_version text,
    report jsonb,
    mesh bytea,
    points bytea,
    thumbnail bytea,
    views bytea[], -- noqa: LT01
    vectors halfvec[] -- noqa: LT01
);

comment on type cad._analysis is
'Answer about one file: an error, or report, files, view pictures and vectors (text, image, shape, fused, ten views).';
