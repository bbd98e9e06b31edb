-- Is there something to show? t or f; an error while the tables are not there yet.
SELECT EXISTS (SELECT FROM alerts) AND EXISTS (SELECT FROM health_scores);
