-- Engineering terms in two languages: what a question in one is looked for by in parts described in the other.

create table cad.glossary (
    english text not null check (english <> ''),
    chinese text not null check (chinese <> ''),
    shipped boolean not null default false,
    primary key (chinese, english)
);

comment on table cad.glossary is
'Engineering terms in English and Chinese. Add those of your own; the shipped ones come back with every update.';
comment on column cad.glossary.english is 'The term in English.';
comment on column cad.glossary.chinese is 'The term in Chinese.';
comment on column cad.glossary.shipped is 'True for the terms that come with pgcad.';

select pg_catalog.pg_extension_config_dump('cad.glossary', 'where not shipped');
