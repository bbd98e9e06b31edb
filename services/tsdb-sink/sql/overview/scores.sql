-- The GPUs that are worst off, by their last score.
SELECT round(overall_score::numeric, 1) AS "LOWEST SCORES",
       health_grade AS grade,
       state,
       round(confidence::numeric, 2) AS confidence,
       left(gpu_uuid, 12) AS gpu,
       hostname AS host,
       array_to_string(contributing_factors[1:3], ', ') AS factors,
       to_char(time, 'HH24:MI:SS') AS at
FROM latest_health_scores
ORDER BY overall_score NULLS LAST, gpu_uuid
LIMIT 8;
