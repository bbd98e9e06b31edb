-- How many rows each table holds.
SELECT 'gpu_metrics' AS "TABLE", count(*) AS "ROWS" FROM gpu_metrics
UNION ALL SELECT 'gpu_metrics_1min', count(*) FROM gpu_metrics_1min
UNION ALL SELECT 'gpu_metrics_15min', count(*) FROM gpu_metrics_15min
UNION ALL SELECT 'alerts', count(*) FROM alerts
UNION ALL SELECT 'health_scores', count(*) FROM health_scores
UNION ALL SELECT 'gpus', count(*) FROM gpus;
