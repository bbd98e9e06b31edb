package peer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.List;
import java.util.Optional;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.TimestampedKeyValueStore;
import org.apache.kafka.streams.state.ValueAndTimestamp;

/** Joins validated readings with the asset table. A global table, since the two topics are not partitioned alike. */
final class Enricher implements Processor<byte[], byte[], byte[], Outcome> {
    private static final String ASSETS = "assets";
    private static final List<String> FIELDS = List.of(
            "model", "rack_id", "cluster_id", "datacenter", "region", "purchase_date", "warranty_expiry", "sla_tier", "priority");
    private static final int EXPIRING_DAYS = 90;
    /** Before the ingest time in what the validator adds; it adds it at the end. */
    private static final String INGEST = "\"validation_timestamp\":\"";
    private static final int TAIL_BYTES = 512;

    private ProcessorContext<byte[], Outcome> context;
    private TimestampedKeyValueStore<byte[], byte[]> assets;

    static Topology topology(Settings settings) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.globalTable(
                settings.get("KS_TOPIC_ASSETS"),
                Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()),
                Materialized.<byte[], byte[], KeyValueStore<Bytes, byte[]>>as(ASSETS)
                        .withKeySerde(Serdes.ByteArray())
                        .withValueSerde(Serdes.ByteArray()));
        var outcomes = builder.stream(settings.get("KS_TOPIC_VALIDATED"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(Enricher::new);
        Outcome.route(outcomes, settings.get("KS_TOPIC_ENRICHED"), settings.get("KS_TOPIC_INVALID"));
        return builder.build();
    }

    @Override
    public void init(ProcessorContext<byte[], Outcome> context) {
        this.context = context;
        assets = context.getStateStore(ASSETS);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Outcome.Reason reason;
        if (record.value() == null) {
            reason = new Outcome.Reason("no_value", null, "the record has no value");
        } else {
            var spliced = Json.splice(record.value(), members(record));
            if (spliced.isPresent()) {
                context.forward(Outcome.good(record, spliced.get(), context));
                return;
            }
            reason = new Outcome.Reason("not_an_object", null, "the value is no JSON object");
        }
        context.forward(Outcome.dead("enricher", record, record.timestamp(), List.of(reason), context));
    }

    private String members(Record<byte[], byte[]> record) {
        ValueAndTimestamp<byte[]> stored = record.key() == null ? null : assets.get(record.key());
        return Optional.ofNullable(stored)
                .flatMap(asset -> known(asset.value(), ingestDay(record.value())))
                .map(asset -> "\"asset_status\":\"known\",\"asset\":" + asset)
                .orElse("\"asset_status\":\"unknown\"");
    }

    private static Optional<String> known(byte[] value, Optional<LocalDate> day) {
        try {
            JsonNode asset = Json.MAPPER.readTree(value);
            if (!asset.isObject()) {
                return Optional.empty();
            }
            ObjectNode added = Json.MAPPER.createObjectNode();
            for (String field : FIELDS) {
                if (asset.hasNonNull(field)) {
                    added.set(field, asset.get(field));
                }
            }
            added.put("warranty_status", warranty(asset.path("warranty_expiry").asText(""), day));
            return Optional.of(Json.MAPPER.writeValueAsString(added));
        } catch (JsonProcessingException error) {
            return Optional.empty();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    static String warranty(String expiry, Optional<LocalDate> day) {
        Optional<LocalDate> last = date(expiry);
        if (last.isEmpty() || day.isEmpty()) {
            return "unknown";
        }
        if (day.get().isAfter(last.get())) {
            return "expired";
        }
        return day.get().isBefore(last.get().minusDays(EXPIRING_DAYS)) ? "active" : "expiring";
    }

    /** The day of the ingest time, from the record's last bytes: no parse of 2 KB for one member. */
    private static Optional<LocalDate> ingestDay(byte[] value) {
        int from = Math.max(0, value.length - TAIL_BYTES);
        String tail = new String(value, from, value.length - from, StandardCharsets.ISO_8859_1);
        int at = tail.lastIndexOf(INGEST);
        int start = at + INGEST.length();
        return at < 0 || tail.length() < start + 10 ? Optional.empty() : date(tail.substring(start, start + 10));
    }

    private static Optional<LocalDate> date(String text) {
        try {
            return Optional.of(LocalDate.parse(text));
        } catch (DateTimeException error) {
            return Optional.empty();
        }
    }
}
