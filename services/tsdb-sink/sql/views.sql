-- What is asked for most. Made anew at every start, so that columns that were added to a table show here too.

-- The last reading of each GPU.
CREATE OR REPLACE VIEW latest_gpu_metrics AS
SELECT g.gpu_uuid, g.model, g.hostname, g.rack, g.cluster, m.*
FROM gpus AS g
CROSS JOIN LATERAL (
    SELECT * FROM gpu_metrics AS r WHERE r.gpu_id = g.gpu_id ORDER BY r.time DESC LIMIT 1
) AS m;

-- The last health score of each GPU.
CREATE OR REPLACE VIEW latest_health_scores AS
SELECT g.gpu_uuid, g.model, g.hostname, g.rack, g.cluster, s.*
FROM gpus AS g
CROSS JOIN LATERAL (
    SELECT * FROM health_scores AS r WHERE r.gpu_id = g.gpu_id ORDER BY r.time DESC LIMIT 1
) AS s;

-- The last record of each alert that has not ended. (Of two records of one instant the resolved one is the later.)
CREATE OR REPLACE VIEW firing_alerts AS
SELECT g.gpu_uuid, g.model, g.hostname, g.rack, g.cluster, a.*
FROM (
    SELECT DISTINCT ON (alert_id) * FROM alerts ORDER BY alert_id, time DESC, state DESC
) AS a
JOIN gpus AS g ON g.gpu_id = a.gpu_id
WHERE a.state = 'firing';
