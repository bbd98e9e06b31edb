package peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** Windows of one minute of each GPU, emitted when they close, and quarters of an hour made of them. */
final class Aggregator {
    static final long MINUTE_MS = 60_000;
    static final long QUARTER_MS = 15 * MINUTE_MS;
    private static final String PENDING = "pending";

    private Aggregator() {}

    static Topology topology(Settings settings) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(settings.get("KS_TOPIC_ENRICHED"), Consumed.with(Serdes.String(), Reading.SERDE)
                        .withTimestampExtractor(Reading::eventTime))
                .split()
                .branch(
                        (key, reading) -> key == null || reading == null || reading.problem() != null,
                        Branched.withConsumer(dead -> dead.process(DeadLetters::new)
                                .mapValues(Outcome::value)
                                .to(settings.get("KS_TOPIC_INVALID"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()))))
                .defaultBranch(Branched.withConsumer(readings -> windows(readings, settings)));
        return builder.build();
    }

    private static void windows(KStream<String, Reading> readings, Settings settings) {
        KStream<Windowed<String>, byte[]> closed = readings.groupByKey(Grouped.with(Serdes.String(), Reading.SERDE))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(MINUTE_MS), settings.grace()))
                .emitStrategy(EmitStrategy.onWindowClose())
                .aggregate(
                        () -> new byte[0],
                        (gpu, reading, rows) -> Rows.append(rows, reading),
                        // A closing window is emitted at most once a second of the wall clock. What passes in that second
                        // while a backlog is caught up must not outrun the retention, or windows expire without a word.
                        Materialized.<String, byte[], WindowStore<Bytes, byte[]>>as("minutes")
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Serdes.ByteArray())
                                .withRetention(settings.retention()))
                .toStream();
        Produced<String, byte[]> produced = Produced.with(Serdes.String(), Serdes.ByteArray());
        closed.process(Minutes::new).to(settings.get("KS_TOPIC_1MIN"), produced);
        StoreBuilder<?> pending =
                Stores.keyValueStoreBuilder(settings.keyValueStore(PENDING), Serdes.Bytes(), Serdes.ByteArray());
        closed.process(new ProcessorSupplier<Windowed<String>, byte[], String, byte[]>() {
                    @Override
                    public Processor<Windowed<String>, byte[], String, byte[]> get() {
                        return new Quarters();
                    }

                    @Override
                    public Set<StoreBuilder<?>> stores() {
                        return Set.of(pending);
                    }
                })
                .to(settings.get("KS_TOPIC_15MIN"), produced);
    }

    private static final class DeadLetters extends ContextualProcessor<String, Reading, byte[], Outcome> {
        @Override
        public void process(Record<String, Reading> record) {
            Reading reading = record.value();
            byte[] key = record.key() == null ? null : record.key().getBytes(StandardCharsets.UTF_8);
            Outcome.Reason reason = reading == null
                    ? new Outcome.Reason("missing_value", null, "the record has no value")
                    : key == null
                            ? new Outcome.Reason("missing_key", null, "the record has no key")
                            : new Outcome.Reason("unreadable_reading", null, reading.problem());
            Record<byte[], byte[]> input =
                    new Record<>(key, reading == null ? null : reading.raw(), record.timestamp(), record.headers());
            context().forward(Outcome.dead("aggregator", input, record.timestamp(), List.of(reason), context()));
        }
    }

    private static final class Minutes extends ContextualProcessor<Windowed<String>, byte[], String, byte[]> {
        @Override
        public void process(Record<Windowed<String>, byte[]> closed) {
            String gpu = closed.key().key();
            var window = closed.key().window();
            byte[] value = Rows.render(gpu, "1m", window.start(), window.end(), closed.value());
            context().forward(new Record<>(gpu, value, closed.timestamp(), Lineage.of(context())));
        }
    }

    /**
     * Keeps the rows of closed minutes until their quarter is over, so that its percentiles are exact. Minutes come in the order
     * of time: once one of a later quarter comes, those before it are whole.
     */
    private static final class Quarters extends ContextualProcessor<Windowed<String>, byte[], String, byte[]> {
        /** By quarter, GPU and minute; big-endian, so that this is the order of the keys. */
        private KeyValueStore<Bytes, byte[]> pending;
        private long open = Long.MIN_VALUE;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            super.init(context);
            pending = context.getStateStore(PENDING);
            try (KeyValueIterator<Bytes, byte[]> all = pending.all()) {
                while (all.hasNext()) {
                    open = Math.max(open, ByteBuffer.wrap(all.next().key.get()).getLong());
                }
            }
        }

        @Override
        public void process(Record<Windowed<String>, byte[]> closed) {
            long minute = closed.key().window().start();
            long quarter = minute - Math.floorMod(minute, QUARTER_MS);
            if (quarter > open) {
                close(quarter, closed.timestamp());
                open = quarter;
            }
            pending.put(key(quarter, closed.key().key(), minute), closed.value());
        }

        private void close(long before, long timestamp) {
            Bytes first = null;
            byte[] rows = new byte[0];
            try (var whole = pending.range(key(0, "", 0), key(before, "", 0))) {
                while (whole.hasNext()) {
                    var entry = whole.next();
                    if (first != null && !sameQuarter(first.get(), entry.key.get())) {
                        emit(first, rows, timestamp);
                        rows = new byte[0];
                        first = null;
                    }
                    first = first == null ? entry.key : first;
                    rows = Rows.append(rows, entry.value);
                    pending.delete(entry.key);
                }
            }
            if (first != null) {
                emit(first, rows, timestamp);
            }
        }

        private void emit(Bytes key, byte[] rows, long timestamp) {
            long start = ByteBuffer.wrap(key.get()).getLong();
            String gpu = new String(key.get(), Long.BYTES, key.get().length - 2 * Long.BYTES - 1, StandardCharsets.UTF_8);
            byte[] value = Rows.render(gpu, "15m", start, start + QUARTER_MS, rows);
            context().forward(new Record<>(gpu, value, timestamp, Lineage.of(context())));
        }

        private static boolean sameQuarter(byte[] one, byte[] other) {
            return one.length == other.length
                    && Arrays.equals(one, 0, one.length - Long.BYTES, other, 0, other.length - Long.BYTES);
        }

        private static Bytes key(long quarter, String gpu, long minute) {
            byte[] name = gpu.getBytes(StandardCharsets.UTF_8);
            return Bytes.wrap(ByteBuffer.allocate(2 * Long.BYTES + name.length + 1)
                    .putLong(quarter)
                    .put(name)
                    .put((byte) 0)
                    .putLong(minute)
                    .array());
        }
    }
}
