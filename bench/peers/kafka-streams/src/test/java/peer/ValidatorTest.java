package peer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.test.TestRecord;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ValidatorTest {
    private static final Instant NOON = Bench.NOON;
    private static final String COOL = "{\"health\":{\"gpu_temp_c\":61}}";

    @TempDir
    Path state;

    private Bench bench;

    @BeforeEach
    void start() {
        bench = new Bench("validator", state, "rocksdb", Validator::topology);
    }

    @AfterEach
    void stop() {
        bench.close();
    }

    private void give(String key, byte[] value, Instant appended) {
        bench.input("gpu-metrics-raw").pipeInput(key, value, appended);
    }

    private List<String> reasons(byte[] value) {
        return reasons(Bench.GPU, value);
    }

    private List<String> reasons(String key, byte[] value) {
        give(key, value, NOON);
        assertEquals(0, bench.read("gpu-metrics-validated").size());
        List<JsonNode> dead = bench.read("gpu-metrics-invalid");
        assertEquals(1, dead.size());
        List<String> codes = new ArrayList<>();
        dead.get(0).get("validation_errors").forEach(error -> codes.add(error.get("code").asText()));
        return codes;
    }

    @Test
    void aSoundReadingGoesOnWithThreeMembersMoreAndItsSource() {
        byte[] raw = Bench.reading(Bench.GPU, NOON.minusSeconds(1), COOL);
        give(Bench.GPU, raw, NOON.minusSeconds(1));
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON, COOL), NOON.plusMillis(500));
        var out = bench.records("gpu-metrics-validated");
        assertEquals(2, out.size());
        assertEquals(Bench.GPU, out.get(1).key());
        assertEquals("gpu-metrics-raw/0/1", Bench.source(out.get(1)));
        String begin = new String(raw, 0, raw.length - 1, StandardCharsets.UTF_8);
        assertEquals(
                begin + ",\"validation_timestamp\":\"2026-02-11T11:59:59.000Z\",\"validation_version\":\"1\",\"quality_flags\":[]}",
                new String(out.get(0).value(), StandardCharsets.UTF_8));
        assertEquals(0, bench.records("gpu-metrics-invalid").size());
    }

    @Test
    void aDeadLetterHasEveryReasonAndTheOriginal() {
        byte[] raw = Bench.reading(Bench.GPU, NOON.plusSeconds(301), "{\"health\":{\"gpu_temp_c\":131,\"power_usage_w\":\"much\"}}");
        give("GPU-other", raw, NOON);
        var out = bench.records("gpu-metrics-invalid");
        assertEquals(1, out.size());
        assertEquals("GPU-other", out.get(0).key());
        assertEquals("gpu-metrics-raw/0/0", Bench.source(out.get(0)));
        JsonNode letter = Bench.json(out.get(0).value());
        List<String> codes = letter.get("validation_errors").findValuesAsText("code");
        assertEquals(List.of("key_mismatch", "timestamp_in_future", "out_of_range", "wrong_type"), codes);
        assertArrayEquals(raw, Bench.bytes(letter.get("original").asText()));
        assertEquals("gpu-metrics-raw", letter.get("source").get("topic").asText());
        assertEquals("utf8", letter.get("original_encoding").asText());
    }

    @Test
    void whateverIsNoReadingIsADeadLetter() {
        assertEquals(List.of("missing_value"), reasons(null));
        assertEquals(List.of("malformed_json"), reasons(Bench.bytes("{\"a\":1")));
        assertEquals(List.of("malformed_json"), reasons(Bench.bytes("{\"a\":1}{}")));
        assertEquals(List.of("malformed_json"), reasons(Bench.bytes("{\"a\":1,\"a\":2}")));
        assertEquals(List.of("not_an_object"), reasons(Bench.bytes("[]")));
        assertEquals(List.of("not_an_object"), reasons(Bench.bytes("")));
        assertEquals(List.of("malformed_json"), reasons(new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'}));
        assertEquals(List.of("record_too_large"), reasons(new byte[262_145]));
        assertEquals(List.of("missing_gpu_uuid", "key_mismatch", "missing_timestamp", "missing_metrics"), reasons(Bench.bytes("{}")));
        assertEquals(List.of("missing_key"), reasons(null, Bench.reading(Bench.GPU, NOON, COOL)));
        for (String time : List.of("yesterday", "+999999999-12-31T23:59:59Z", "2026-02-30T00:00:00Z")) {
            byte[] value = Bench.bytes("{\"timestamp\":\"" + time + "\",\"gpu\":{\"gpu_uuid\":\"" + Bench.GPU + "\"},\"metrics\":{}}");
            assertEquals(List.of("invalid_timestamp"), reasons(value));
        }
        assertEquals(List.of("out_of_range"), reasons(Bench.reading(Bench.GPU, NOON, "{\"memory\":{\"ecc_sbe_volatile\":-1}}")));
        assertEquals(List.of("out_of_range"), reasons(Bench.reading(Bench.GPU, NOON, "{\"health\":{\"gpu_temp_c\":1e999}}")));
    }

    @Test
    void timeIsJudgedAgainstIngestTimeToTheMillisecond() {
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON.minusSeconds(3600), COOL), NOON);
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON.minusSeconds(60), COOL), NOON);
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON.plusSeconds(300), COOL), NOON);
        List<JsonNode> out = bench.read("gpu-metrics-validated");
        assertEquals(3, out.size());
        assertEquals("[\"late\"]", out.get(0).get("quality_flags").toString());
        assertEquals("[]", out.get(1).get("quality_flags").toString());
        assertEquals(List.of("timestamp_too_old"), reasons(Bench.reading(Bench.GPU, NOON.minusMillis(3_600_001), COOL)));
    }

    @Test
    void aCopyMadeForAReplayIsJudgedByItsOriginalAppendTime() {
        Instant then = NOON.minus(Duration.ofDays(30));
        var headers = new RecordHeaders().add("original-append-time", Bench.bytes("" + then.toEpochMilli()));
        bench.input("gpu-metrics-raw").pipeInput(new TestRecord<>(Bench.GPU, Bench.reading(Bench.GPU, then, COOL), headers, NOON));
        var out = bench.records("gpu-metrics-validated");
        assertEquals(1, out.size());
        assertEquals(1, out.get(0).headers().toArray().length);
        assertEquals("2026-01-12T12:00:00.000Z", Bench.json(out.get(0).value()).get("validation_timestamp").asText());

        headers = new RecordHeaders().add("original-append-time", Bench.bytes("soon"));
        bench.input("gpu-metrics-raw").pipeInput(new TestRecord<>(Bench.GPU, Bench.reading(Bench.GPU, NOON, COOL), headers, NOON));
        assertEquals(1, bench.read("gpu-metrics-invalid").size());
    }

    @Test
    void aReadingIsSeenOnceWhateverTheOrder() {
        for (int second : new int[] {10, 30, 20, 30, 10, 20, 40}) {
            give(Bench.GPU, Bench.reading(Bench.GPU, NOON.plusSeconds(second), COOL), NOON.plusSeconds(60));
        }
        give("GPU-b", Bench.reading("GPU-b", NOON.plusSeconds(10), COOL), NOON.plusSeconds(60));
        assertEquals(5, bench.read("gpu-metrics-validated").size());
        List<JsonNode> dead = bench.read("gpu-metrics-invalid");
        assertEquals(3, dead.size());
        dead.forEach(letter -> assertTrue(letter.get("validation_errors").toString().contains("\"duplicate\"")));
    }

    @Test
    void whatIsOlderThanAllThatAreRememberedCountsAsARepeat() {
        for (int second = 1; second <= 40; second++) {
            give(Bench.GPU, Bench.reading(Bench.GPU, NOON.plusSeconds(second), COOL), NOON.plusSeconds(60));
        }
        assertEquals(40, bench.read("gpu-metrics-validated").size());
        assertEquals(List.of("duplicate"), reasons(Bench.reading(Bench.GPU, NOON.plusSeconds(8), COOL)));
        assertEquals(List.of("duplicate"), reasons(Bench.reading(Bench.GPU, NOON.plusSeconds(9), COOL)));
        assertEquals(List.of("duplicate"), reasons(Bench.reading(Bench.GPU, NOON.plusSeconds(40), COOL)));
    }

    @Test
    void anInvalidReadingLeavesNoTrace() {
        assertEquals(List.of("out_of_range"), reasons(Bench.reading(Bench.GPU, NOON, "{\"health\":{\"gpu_temp_c\":500}}")));
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON, COOL), NOON);
        assertEquals(1, bench.read("gpu-metrics-validated").size());
    }

    @Test
    void aGpuThatIsSilentForADayIsForgotten() {
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON, COOL), NOON);
        give("GPU-b", Bench.reading("GPU-b", NOON.plus(Duration.ofHours(24)), COOL), NOON.plus(Duration.ofHours(24)));
        var seen = bench.driver.<String, byte[]>getKeyValueStore("seen");
        assertEquals(true, seen.get(Bench.GPU) != null);
        give("GPU-b", Bench.reading("GPU-b", NOON.plus(Duration.ofHours(26)), COOL), NOON.plus(Duration.ofHours(26)));
        assertEquals(true, seen.get(Bench.GPU) == null);
        assertEquals(true, seen.get("GPU-b") != null);
    }

    @Test
    void blankSentinelsBecomeNullAndReservedNamesAreTakenOut() {
        give(Bench.GPU, Bench.reading(Bench.GPU, NOON, "{\"health\":{\"gpu_temp_c\":2147483632,\"memory_temp_c\":9223372036854775794}}"), NOON);
        give(
                Bench.GPU,
                Bench.bytes("{\"asset\":1,\"timestamp\":\"" + NOON.plusSeconds(1) + "\",\"gpu\":{\"gpu_uuid\":\"" + Bench.GPU + "\"},\"metrics\":{}}"),
                NOON);
        List<JsonNode> out = bench.read("gpu-metrics-validated");
        assertEquals(2, out.size());
        assertEquals("{\"gpu_temp_c\":null,\"memory_temp_c\":null}", out.get(0).get("metrics").get("health").toString());
        assertEquals("[\"blank\"]", out.get(0).get("quality_flags").toString());
        assertEquals(false, out.get(1).has("asset"));
    }
}
