package peer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** Decides about every raw reading: it goes on, or it becomes a dead letter with all its reasons. */
final class Validator implements Processor<byte[], byte[], byte[], Outcome> {
    static final String VERSION = "1";
    private static final String SEEN = "seen";
    /** Names that only the pipeline gives. */
    private static final List<String> OURS =
            List.of("validation_timestamp", "validation_version", "quality_flags", "asset_status", "asset");
    private static final int RECORD_MAX_BYTES = 262_144;
    private static final long TOO_OLD_AFTER_MS = 3_600_000;
    private static final long FUTURE_TOLERANCE_MS = 300_000;
    private static final long LATE_AFTER_MS = 60_000;
    private static final long FORGET_AFTER_MS = 86_400_000;
    /** Event times remembered of each GPU. */
    private static final int REMEMBERED = 32;

    private ProcessorContext<byte[], Outcome> context;
    /** GPU UUID to the ingest time of its last valid reading (ms), then the latest event times seen (µs), ascending. */
    private KeyValueStore<String, byte[]> seen;

    static Topology topology(Settings settings) {
        StreamsBuilder builder = new StreamsBuilder();
        StoreBuilder<?> store = Stores.keyValueStoreBuilder(settings.keyValueStore(SEEN), Serdes.String(), Serdes.ByteArray());
        var outcomes = builder.stream(settings.get("KS_TOPIC_RAW"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(new ProcessorSupplier<byte[], byte[], byte[], Outcome>() {
                    @Override
                    public Processor<byte[], byte[], byte[], Outcome> get() {
                        return new Validator();
                    }

                    @Override
                    public Set<StoreBuilder<?>> stores() {
                        return Set.of(store);
                    }
                });
        Outcome.route(outcomes, settings.get("KS_TOPIC_VALIDATED"), settings.get("KS_TOPIC_INVALID"));
        return builder.build();
    }

    @Override
    public void init(ProcessorContext<byte[], Outcome> context) {
        this.context = context;
        seen = context.getStateStore(SEEN);
        context.schedule(Duration.ofHours(1), PunctuationType.STREAM_TIME, this::forget);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        List<Outcome.Reason> reasons = new ArrayList<>();
        long ingest = ingestTime(record, reasons);
        Set<String> flags = new LinkedHashSet<>();
        byte[] sound = reasons.isEmpty() ? judge(record, ingest, flags, reasons) : null;
        if (reasons.isEmpty()) {
            String members = "\"validation_timestamp\":\"" + Json.time(ingest) + "\",\"validation_version\":\"" + VERSION
                    + "\",\"quality_flags\":["
                    + String.join(",", flags.stream().map(flag -> "\"" + flag + "\"").toList()) + "]";
            var spliced = Json.splice(sound, members);
            if (spliced.isPresent()) {
                context.forward(Outcome.good(record, spliced.get(), context));
                return;
            }
            reasons.add(new Outcome.Reason("not_utf8", null, "the value is no UTF-8"));
        }
        context.forward(Outcome.dead("validator", record, ingest, reasons, context));
    }

    /** The broker's append time; for a copy made for a replay, what its header says. */
    private static long ingestTime(Record<byte[], byte[]> record, List<Outcome.Reason> reasons) {
        Header header = record.headers().lastHeader("original-append-time");
        if (header == null) {
            return record.timestamp();
        }
        try {
            long original = Long.parseLong(new String(header.value(), StandardCharsets.UTF_8));
            if (original >= 0 && original <= record.timestamp()) {
                return original;
            }
        } catch (NumberFormatException | NullPointerException error) {
            // It has no number: told below.
        }
        reasons.add(new Outcome.Reason("invalid_append_time", null, "the header original-append-time is no time in the past"));
        return record.timestamp();
    }

    /** The bytes that may go on; whatever stands in {@code reasons} afterwards says why they may not. */
    private byte[] judge(Record<byte[], byte[]> record, long ingest, Set<String> flags, List<Outcome.Reason> reasons) {
        byte[] value = record.value();
        if (value == null) {
            reasons.add(new Outcome.Reason("missing_value", null, "the record has no value"));
            return null;
        }
        if (value.length > RECORD_MAX_BYTES) {
            reasons.add(new Outcome.Reason("record_too_large", null, value.length + " bytes, at most " + RECORD_MAX_BYTES));
            return null;
        }
        JsonNode parsed;
        try {
            parsed = Json.MAPPER.readTree(value);
        } catch (IOException error) {
            reasons.add(new Outcome.Reason("malformed_json", null, error.getMessage()));
            return null;
        }
        if (!(parsed instanceof ObjectNode reading)) {
            reasons.add(new Outcome.Reason("not_an_object", null, "the value is no JSON object"));
            return null;
        }
        String gpu = gpu(record.key(), reading, reasons);
        Instant time = time(reading, ingest, flags, reasons);
        boolean changed = metrics(reading, flags, reasons);
        int members = reading.size();
        changed |= reading.remove(OURS).size() < members;
        if (reasons.isEmpty() && !remember(gpu, time, ingest)) {
            reasons.add(new Outcome.Reason("duplicate", "timestamp", "a reading of " + gpu + " at " + time + " was seen before"));
        }
        try {
            return changed ? Json.MAPPER.writeValueAsBytes(reading) : value;
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String gpu(byte[] key, JsonNode reading, List<Outcome.Reason> reasons) {
        String gpu = reading.path("gpu").path("gpu_uuid").asText("");
        if (gpu.isBlank()) {
            reasons.add(new Outcome.Reason("missing_gpu_uuid", "gpu.gpu_uuid", "it is required"));
        }
        if (key == null) {
            reasons.add(new Outcome.Reason("missing_key", null, "the record has no key"));
        } else if (!Arrays.equals(key, gpu.getBytes(StandardCharsets.UTF_8))) {
            reasons.add(new Outcome.Reason("key_mismatch", "gpu.gpu_uuid", "the key is another GPU"));
        }
        return gpu;
    }

    private static Instant time(JsonNode reading, long ingest, Set<String> flags, List<Outcome.Reason> reasons) {
        JsonNode text = reading.path("timestamp");
        if (text.isMissingNode() || text.isNull()) {
            reasons.add(new Outcome.Reason("missing_timestamp", "timestamp", "it is required"));
            return null;
        }
        Instant time = Json.time(text.asText()).orElse(null);
        if (time == null) {
            reasons.add(new Outcome.Reason("invalid_timestamp", "timestamp", text + " is no RFC 3339 time"));
            return null;
        }
        long behind = ingest - time.toEpochMilli();
        if (behind > TOO_OLD_AFTER_MS) {
            reasons.add(new Outcome.Reason("timestamp_too_old", "timestamp", behind + " ms behind ingest time"));
        } else if (-behind > FUTURE_TOLERANCE_MS) {
            reasons.add(new Outcome.Reason("timestamp_in_future", "timestamp", -behind + " ms ahead of ingest time"));
        } else if (behind > LATE_AFTER_MS) {
            flags.add("late");
        }
        return time;
    }

    /** Whether a blank sentinel was made null. */
    private static boolean metrics(JsonNode reading, Set<String> flags, List<Outcome.Reason> reasons) {
        JsonNode metrics = reading.path("metrics");
        if (!metrics.isObject()) {
            reasons.add(new Outcome.Reason("missing_metrics", "metrics", "an object is required"));
            return false;
        }
        boolean blanks = false;
        for (Metric metric : Metric.ALL) {
            JsonNode holder = metrics;
            for (int depth = 0; depth < metric.path().length - 1; depth++) {
                holder = holder.path(metric.path()[depth]);
            }
            String member = metric.path()[metric.path().length - 1];
            JsonNode value = holder.path(member);
            if (value.isMissingNode() || value.isNull()) {
                continue;
            }
            String field = "metrics." + String.join(".", metric.path());
            if (!value.isNumber()) {
                reasons.add(new Outcome.Reason("wrong_type", field, value + " is no number"));
            } else if (isBlank(value.doubleValue())) {
                ((ObjectNode) holder).putNull(member);
                flags.add("blank");
                blanks = true;
            } else if (!(value.doubleValue() >= metric.min() && value.doubleValue() <= metric.max())) {
                reasons.add(new Outcome.Reason(
                        "out_of_range", field, value + " is not from " + metric.min() + " to " + metric.max()));
            }
        }
        return blanks;
    }

    /** DCGM's blank sentinels of 32-bit, 64-bit and floating values: a base and the three numbers after it. */
    private static boolean isBlank(double value) {
        if (value < 0x7ffffff0L || value != Math.rint(value)) {
            return false;
        }
        for (double base : new double[] {0x7ffffff0L, 0x1p47, 0x1p63}) {
            if (value >= base && value <= base + 3) {
                return true;
            }
        }
        return false;
    }

    /** False if the reading was seen before, or is older than all that are remembered. */
    private boolean remember(String gpu, Instant time, long ingest) {
        long micros = ChronoUnit.MICROS.between(Instant.EPOCH, time);
        byte[] stored = seen.get(gpu);
        long[] times = new long[0];
        long last = ingest;
        if (stored != null) {
            ByteBuffer buffer = ByteBuffer.wrap(stored);
            last = Math.max(last, buffer.getLong());
            times = new long[buffer.remaining() / Long.BYTES];
            buffer.asLongBuffer().get(times);
        }
        int place = Arrays.binarySearch(times, micros);
        if (place >= 0 || times.length == REMEMBERED && place == -1) {
            return false;
        }
        int from = times.length == REMEMBERED ? 1 : 0;
        int at = -place - 1;
        ByteBuffer buffer = ByteBuffer.allocate((2 + times.length - from) * Long.BYTES).putLong(last);
        for (int index = from; index < at; index++) {
            buffer.putLong(times[index]);
        }
        buffer.putLong(micros);
        for (int index = at; index < times.length; index++) {
            buffer.putLong(times[index]);
        }
        seen.put(gpu, buffer.array());
        return true;
    }

    private void forget(long streamTime) {
        try (KeyValueIterator<String, byte[]> all = seen.all()) {
            while (all.hasNext()) {
                var entry = all.next();
                if (ByteBuffer.wrap(entry.value).getLong() < streamTime - FORGET_AFTER_MS) {
                    seen.delete(entry.key);
                }
            }
        }
    }
}
