-- The GPUs that are worst off.
SELECT * FROM health_scores ORDER BY 1 DESC LIMIT 8;
