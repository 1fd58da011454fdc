-- What a search carries from encoding to rerank: the question as words, as lexical terms and as vectors.

create type cad._query as (
    kind text,
    words text,
    terms tsquery [],
    term_weights real [],
    rare_terms integer,
    english_terms tsquery [],
    english_weights real [],
    rare_english integer,
    number_terms tsquery [],
    number_weights real [],
    rare_numbers integer,
    part_numbers text [],
    text_vec halfvec,
    image_vec halfvec,
    shape_vec halfvec,
    brep_vec halfvec,
    fused_vec halfvec,
    by_view boolean,
    boost jsonb,
    vectors regclass,
    views regclass
);

comment on type cad._query is
'A question in every form. terms: rarest first, the first rare_terms of them rare. english_terms: those of '
'what the glossary makes of it. number_terms: the numbers that it names. part_numbers: words that may be one. '
'The vectors: what each stored modality is compared with; all null where no encoder made them. by_view: compare the '
'image with each of the views. boost: what is preferred, null for nothing. vectors, views: the tables of the space.';
