-- What has arrived: rows of each table and its newest event time.
SELECT 'gpu_metrics' AS "TABLE", count(*) AS "ROWS", max(time) AS "NEWEST" FROM gpu_metrics
UNION ALL SELECT 'gpu_metrics_1min', count(*), max(window_start) FROM gpu_metrics_1min
UNION ALL SELECT 'gpu_metrics_15min', count(*), max(window_start) FROM gpu_metrics_15min
UNION ALL SELECT 'alerts', count(*), max(time) FROM alerts
UNION ALL SELECT 'health_scores', count(*), max(time) FROM health_scores;
