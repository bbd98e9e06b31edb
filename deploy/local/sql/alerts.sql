-- The latest alerts.
SELECT to_char(timestamp, 'HH24:MI:SS') AS "LATEST ALERTS",
       severity,
       state,
       alert_type,
       left(gpu_uuid, 12) AS gpu,
       left(message, 80) AS message
FROM alerts
ORDER BY timestamp DESC
LIMIT 8;
