-- The GPUs that are worst off, by their last score.
SELECT round(overall_score::numeric, 1) AS "LOWEST SCORES",
       health_grade AS grade,
       round(confidence::numeric, 2) AS confidence,
       left(gpu_uuid, 12) AS gpu,
       to_char(timestamp, 'HH24:MI:SS') AS at
FROM (
    SELECT DISTINCT ON (gpu_uuid) *
    FROM health_scores
    ORDER BY gpu_uuid, timestamp DESC
) AS last
ORDER BY overall_score NULLS LAST
LIMIT 8;
