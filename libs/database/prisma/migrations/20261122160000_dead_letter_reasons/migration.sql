-- Letters of one reason are listed, counted and replayed without reading those of others.
create index dead_letters_reason on dead_letters (environment_id, reason, id);
