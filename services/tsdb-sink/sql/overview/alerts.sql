-- The latest alerts.
SELECT to_char(a.time, 'HH24:MI:SS') AS "LATEST ALERTS",
       a.severity,
       a.state,
       a.alert_type,
       left(g.gpu_uuid, 12) AS gpu,
       g.hostname AS host,
       left(a.message, 80) AS message
FROM alerts AS a
JOIN gpus AS g ON g.gpu_id = a.gpu_id
ORDER BY a.time DESC
LIMIT 8;
