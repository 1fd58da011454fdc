-- What every search returns.

create type cad.hit as (
    rank integer,
    model_id uuid,
    part_number text,
    name text,
    family text,
    score real,
    text_score real,
    image_score real,
    shape_score real,
    lexical_score real
);

comment on type cad.hit is 'One search result. A score is null where the query or the part has no such modality.';

create type cad.batch_hit as (
    query integer,
    rank integer,
    model_id uuid,
    part_number text,
    name text,
    family text,
    score real,
    text_score real,
    image_score real,
    shape_score real,
    lexical_score real
);

comment on type cad.batch_hit is 'One result of one of many searches: query is the place of the question in the list.';
