package peer;

import java.lang.management.ManagementFactory;
import java.util.Map;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Tells on standard output, one JSON object a line, how far an instance is. {@code time_ms} is the wall clock's. */
final class Progress implements KafkaStreams.StateListener, StateRestoreListener {
    private long restoreBeganMs;
    private long restoreEndedMs;
    private long stores;
    private long records;

    @Override
    public synchronized void onChange(KafkaStreams.State state, KafkaStreams.State before) {
        if (state == KafkaStreams.State.RUNNING) {
            // What has been restored since it ran the last time, the global table included.
            long took = restoreEndedMs - restoreBeganMs;
            say("restored", "\"stores\":" + stores + ",\"records\":" + records + ",\"ms\":" + took);
            restoreBeganMs = 0;
            restoreEndedMs = 0;
            stores = 0;
            records = 0;
            long started = ManagementFactory.getRuntimeMXBean().getStartTime();
            say("running", "\"since_start_ms\":" + (System.currentTimeMillis() - started));
        } else if (state == KafkaStreams.State.REBALANCING) {
            say("rebalancing", "\"from\":\"" + before + "\"");
        }
    }

    @Override
    public synchronized void onRestoreStart(TopicPartition partition, String store, long from, long to) {
        if (restoreBeganMs == 0) {
            restoreBeganMs = System.currentTimeMillis();
            restoreEndedMs = restoreBeganMs;
        }
    }

    @Override
    public void onBatchRestored(TopicPartition partition, String store, long end, long restored) {
        // Only the whole is told.
    }

    @Override
    public synchronized void onRestoreEnd(TopicPartition partition, String store, long restored) {
        stores++;
        records += restored;
        restoreEndedMs = System.currentTimeMillis();
    }

    synchronized void failed(Throwable error) {
        say("failed", "\"error\":" + Json.MAPPER.getNodeFactory().textNode(String.valueOf(error)));
        error.printStackTrace();
    }

    synchronized void stopped(boolean closed, double droppedRecords) {
        say("stopped", "\"in_time\":" + closed + ",\"dropped_records\":" + (long) droppedRecords);
    }

    /** Late records and others that Kafka Streams has left out without an outcome, by the tasks that still run here. */
    static double droppedRecords(Map<MetricName, ? extends Metric> metrics) {
        return metrics.values().stream()
                .filter(metric -> metric.metricName().name().equals("dropped-records-total"))
                .mapToDouble(metric -> (double) metric.metricValue())
                .sum();
    }

    private static void say(String event, String members) {
        System.out.println("{\"event\":\"" + event + "\",\"time_ms\":" + System.currentTimeMillis() + "," + members + "}");
        System.out.flush();
    }
}
