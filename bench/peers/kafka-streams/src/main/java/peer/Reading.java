package peer;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.Instant;
import java.util.Arrays;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * What the aggregator takes of an enriched reading, read once by the source's deserializer; the time extractor needs it, too.
 * A record that can't be read has a {@code problem} and nothing else, so that the topology makes a dead letter of it.
 */
record Reading(byte[] raw, long time, double[] values, String problem) {
    static final Serde<Reading> SERDE =
            Serdes.serdeFrom((topic, reading) -> reading == null ? null : reading.raw(), (topic, raw) -> of(raw));

    /** Event time; for what has none, the time that the partition has come to. */
    static long eventTime(ConsumerRecord<Object, Object> record, long partitionTime) {
        return record.value() instanceof Reading reading && reading.problem() == null
                ? reading.time()
                : Math.max(partitionTime, 0);
    }

    private static Reading of(byte[] raw) {
        if (raw == null) {
            return null;
        }
        double[] values = new double[Metric.ALL.size()];
        Arrays.fill(values, Double.NaN);
        Instant time = null;
        try (JsonParser parser = Json.FACTORY.createParser(raw)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return unreadable(raw, "the value is no JSON object");
            }
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String member = parser.currentName();
                parser.nextToken();
                if (member.equals("timestamp")) {
                    time = Json.time(parser.getText()).orElse(null);
                } else if (member.equals("metrics") && parser.currentToken() == JsonToken.START_OBJECT) {
                    metrics(parser, "", values);
                } else {
                    parser.skipChildren();
                }
            }
        } catch (IOException error) {
            return unreadable(raw, error.getMessage());
        }
        if (time == null || time.isBefore(Instant.EPOCH)) {
            return unreadable(raw, "it has no timestamp since 1970");
        }
        return new Reading(raw, time.toEpochMilli(), values, null);
    }

    private static void metrics(JsonParser parser, String prefix, double[] values) throws IOException {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String member = parser.currentName();
            JsonToken value = parser.nextToken();
            if (value.isNumeric()) {
                int place = Metric.indexOf(prefix.isEmpty() ? member : prefix + member);
                if (place >= 0) {
                    values[place] = parser.getDoubleValue();
                }
            } else if (value == JsonToken.START_OBJECT) {
                metrics(parser, Metric.prefix(member), values);
            } else {
                parser.skipChildren();
            }
        }
    }

    private static Reading unreadable(byte[] raw, String problem) {
        return new Reading(raw, -1, null, problem);
    }
}
