package peer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;

/** A stage on the test driver. */
final class Bench implements AutoCloseable {
    static final String GPU = "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11";
    static final Instant NOON = Instant.parse("2026-02-11T12:00:00Z");

    final TopologyTestDriver driver;

    Bench(String stage, Path state, String store, Function<Settings, Topology> topology) {
        Settings settings = new Settings(stage, Map.of("KS_STATE_DIR", state.toString(), "KS_STORE", store), List.of());
        driver = new TopologyTestDriver(topology.apply(settings), settings.properties(), NOON);
    }

    TestInputTopic<String, byte[]> input(String topic) {
        return driver.createInputTopic(topic, new StringSerializer(), new ByteArraySerializer());
    }

    private TestOutputTopic<String, byte[]> output(String topic) {
        return driver.createOutputTopic(topic, new StringDeserializer(), new ByteArrayDeserializer());
    }

    List<TestRecord<String, byte[]>> records(String topic) {
        return output(topic).readRecordsToList();
    }

    List<JsonNode> read(String topic) {
        return records(topic).stream().map(record -> json(record.value())).toList();
    }

    static String source(TestRecord<String, byte[]> record) {
        return new String(record.headers().lastHeader("source").value(), StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static JsonNode json(byte[] value) {
        try {
            return Json.MAPPER.readTree(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static byte[] reading(String gpu, Instant time, String metrics) {
        return bytes("{\"timestamp\":\"" + time + "\",\"gpu\":{\"gpu_uuid\":\"" + gpu + "\"},\"metrics\":" + metrics + ",\"x\":[1.50]}");
    }

    static byte[] hot(Instant time, double celsius) {
        return reading(GPU, time, "{\"health\":{\"gpu_temp_c\":" + celsius + "}}");
    }

    @Override
    public void close() {
        driver.close();
    }
}
