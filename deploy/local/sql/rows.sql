-- How many rows each table holds.
SELECT coalesce(
    string_agg(format('SELECT %1$L AS "TABLE", count(*) AS "ROWS" FROM %1$I', relname), ' UNION ALL ' ORDER BY relname),
    'SELECT ''no tables yet'' AS "TABLE", 0 AS "ROWS"'
) AS query
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
\gset
:query;
