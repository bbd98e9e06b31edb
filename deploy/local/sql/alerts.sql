-- The latest alerts.
SELECT * FROM alerts ORDER BY 1 DESC LIMIT 8;
