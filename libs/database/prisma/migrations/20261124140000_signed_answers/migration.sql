-- Whether answers of a push app that are not signed are refused.
alter table apps add column signed_answers boolean not null default false;
