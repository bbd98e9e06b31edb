package peer;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/**
 * A window's state: a row for each reading, its event time (ms) and then a double for each metric, NaN where it has none.
 * A new reading is appended without looking at those before it, and two windows' rows one after the other are those of both.
 */
final class Rows {
    private static final int ROW_BYTES = (1 + Metric.ALL.size()) * Double.BYTES;

    private Rows() {}

    static byte[] append(byte[] rows, Reading reading) {
        ByteBuffer buffer = ByteBuffer.wrap(Arrays.copyOf(rows, rows.length + ROW_BYTES));
        buffer.position(rows.length);
        buffer.putLong(reading.time());
        for (double value : reading.values()) {
            buffer.putDouble(value);
        }
        return buffer.array();
    }

    static byte[] append(byte[] rows, byte[] more) {
        byte[] both = Arrays.copyOf(rows, rows.length + more.length);
        System.arraycopy(more, 0, both, rows.length, more.length);
        return both;
    }

    /** The window's record, in the shape of the aggregator's. */
    static byte[] render(String gpu, String size, long start, long end, byte[] rows) {
        List<Integer> order = new ArrayList<>();
        for (int at = 0; at < rows.length; at += ROW_BYTES) {
            order.add(at);
        }
        ByteBuffer buffer = ByteBuffer.wrap(rows);
        order.sort(Comparator.comparingLong(buffer::getLong));
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(8192);
        try (JsonGenerator json = Json.FACTORY.createGenerator(bytes)) {
            json.writeStartObject();
            json.writeStringField("gpu_uuid", gpu);
            json.writeStringField("window", size);
            json.writeStringField("window_start", Json.time(start));
            json.writeStringField("window_end", Json.time(end));
            json.writeNumberField("revision", 0);
            json.writeNumberField("count", order.size());
            json.writeStringField("first_timestamp", Json.time(buffer.getLong(order.get(0))));
            json.writeStringField("last_timestamp", Json.time(buffer.getLong(order.get(order.size() - 1))));
            json.writeObjectFieldStart("metrics");
            for (int metric = 0; metric < Metric.ALL.size(); metric++) {
                int column = (1 + metric) * Double.BYTES;
                double[] values = order.stream()
                        .mapToDouble(at -> buffer.getDouble(at + column))
                        .filter(value -> !Double.isNaN(value))
                        .toArray();
                if (values.length > 0) {
                    level(json, Metric.ALL.get(metric).name(), values);
                }
            }
            json.writeEndObject();
            json.writeObjectFieldStart("counters");
            json.writeEndObject();
            json.writeEndObject();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private static void level(JsonGenerator json, String name, double[] values) throws IOException {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        Arrays.sort(values);
        json.writeObjectFieldStart(name);
        json.writeNumberField("count", values.length);
        json.writeNumberField("min", values[0]);
        json.writeNumberField("max", values[values.length - 1]);
        json.writeNumberField("mean", sum / values.length);
        json.writeNumberField("p50", rank(values, 50));
        json.writeNumberField("p95", rank(values, 95));
        json.writeNumberField("p99", rank(values, 99));
        json.writeEndObject();
    }

    /** The exact nearest rank: the ceil(percent / 100 * n)-th smallest. */
    static double rank(double[] sorted, int percent) {
        return sorted[(percent * sorted.length + 99) / 100 - 1];
    }
}
