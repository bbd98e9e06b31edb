package peer;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** {@code kafka-streams-peer validator|enricher|aggregator [KEY=VALUE]...}. */
public final class Main {
    private static final int USAGE = 64;
    private static final int FAILED = 70;
    private static final Duration CLOSE_WITHIN = Duration.ofSeconds(30);

    private Main() {}

    /** Runs one stage until it is told to stop (exit code 0) or fails (70). */
    public static void main(String[] arguments) throws InterruptedException {
        Settings settings;
        Topology topology;
        try {
            List<String> given = Arrays.asList(arguments);
            String stage = given.isEmpty() ? "" : given.get(0);
            settings = new Settings(stage, System.getenv(), given.subList(Math.min(1, given.size()), given.size()));
            topology = topology(stage, settings);
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.err.println("usage: kafka-streams-peer validator|enricher|aggregator [KEY=VALUE]...");
            System.exit(USAGE);
            return;
        }
        Progress progress = new Progress();
        CountDownLatch failed = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(topology, settings.properties());
        streams.setUncaughtExceptionHandler(error -> {
            progress.failed(error);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((state, before) -> {
            progress.onChange(state, before);
            if (state == KafkaStreams.State.ERROR) {
                failed.countDown();
            }
        });
        streams.setGlobalStateRestoreListener(progress);
        // By default a member that is closed stays in its group until the session is over. That suits a static member, which
        // comes back; a dynamic one comes back as another, and its partitions would wait for nothing.
        CloseOptions options = CloseOptions.timeout(CLOSE_WITHIN)
                .withGroupMembershipOperation(
                        settings.isStaticMember()
                                ? CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP
                                : CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            double dropped = Progress.droppedRecords(streams.metrics());
            boolean closed = streams.close(options);
            boolean sound = closed && failed.getCount() > 0;
            progress.stopped(closed, dropped);
            Runtime.getRuntime().halt(sound ? 0 : FAILED);
        }));
        streams.start();
        failed.await();
        System.exit(FAILED);
    }

    private static Topology topology(String stage, Settings settings) {
        return switch (stage) {
            case "validator" -> Validator.topology(settings);
            case "enricher" -> Enricher.topology(settings);
            case "aggregator" -> Aggregator.topology(settings);
            default -> throw new IllegalArgumentException("'" + stage + "' is no stage");
        };
    }
}
