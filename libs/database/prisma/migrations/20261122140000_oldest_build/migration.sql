-- The latest migration of the oldest build that can run on this schema. A migration that only adds leaves it alone; one that
-- takes away what builds before it need replaces this function in the same transaction.
create function oldest_build() returns text language sql stable
  return '20261121160000_stop_requests';
