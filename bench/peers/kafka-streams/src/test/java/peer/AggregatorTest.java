package peer;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AggregatorTest {
    private static final Instant NOON = Bench.NOON;

    @TempDir
    Path state;

    private Bench bench;

    private void start(String store) {
        bench = new Bench("aggregator", state, store, Aggregator::topology);
    }

    @AfterEach
    void stop() {
        bench.close();
    }

    /** Gives a reading, and lets more than a second of the wall clock pass, after which windows may be emitted. */
    private void give(String gpu, Instant time, double celsius) {
        bench.input("gpu-metrics-enriched")
                .pipeInput(gpu, Bench.reading(gpu, time, "{\"health\":{\"gpu_temp_c\":" + celsius + "}}"), NOON);
        bench.driver.advanceWallClockTime(Duration.ofMillis(1_001));
    }

    @ParameterizedTest
    @ValueSource(strings = {"rocksdb", "memory"})
    void aMinuteComesOutOnceWhenStreamTimePassesItsEndAndGrace(String store) {
        start(store);
        for (int index = 0; index < 6; index++) {
            give(Bench.GPU, NOON.plusSeconds(10L * index), 60 + index);
        }
        give(Bench.GPU, NOON.plusMillis(89_999), 1);
        assertEquals(0, bench.records("gpu-metrics-1min").size());
        give(Bench.GPU, NOON.plusSeconds(90), 2);
        var out = bench.records("gpu-metrics-1min");
        assertEquals(1, out.size());
        assertEquals(Bench.GPU, out.get(0).key());
        assertEquals("gpu-metrics-enriched/0/7", Bench.source(out.get(0)));
        JsonNode window = Bench.json(out.get(0).value());
        assertEquals("1m", window.get("window").asText());
        assertEquals("2026-02-11T12:00:00.000Z", window.get("window_start").asText());
        assertEquals("2026-02-11T12:01:00.000Z", window.get("window_end").asText());
        assertEquals("2026-02-11T12:00:50.000Z", window.get("last_timestamp").asText());
        assertEquals(6, window.get("count").asInt());
        assertEquals(
                "{\"count\":6,\"min\":60.0,\"max\":65.0,\"mean\":62.5,\"p50\":62.0,\"p95\":65.0,\"p99\":65.0}",
                window.get("metrics").get("gpu_temp_c").toString());
        assertEquals(1, window.get("metrics").size());
    }

    @Test
    void aReadingWithinGraceCountsAndALaterOneIsLeftOut() {
        start("rocksdb");
        give(Bench.GPU, NOON, 60);
        give(Bench.GPU, NOON.plusSeconds(80), 61);
        give(Bench.GPU, NOON.plusSeconds(30), 62);
        give(Bench.GPU, NOON.plusSeconds(95), 63);
        give(Bench.GPU, NOON.plusSeconds(40), 64);
        List<JsonNode> out = bench.read("gpu-metrics-1min");
        assertEquals(1, out.size());
        assertEquals(2, out.get(0).get("count").asInt());
        assertEquals(1.0, Progress.droppedRecords(bench.driver.metrics()));
    }

    @Test
    void aQuarterHasTheReadingsOfItsMinutesAndExactPercentiles() {
        start("rocksdb");
        Random random = new Random(7);
        double[] values = IntStream.range(0, 90).mapToDouble(index -> random.nextInt(100)).toArray();
        for (int index = 0; index < 90; index++) {
            give("GPU-a", NOON.plusSeconds(10L * index), values[index]);
            give("GPU-ab", NOON.plusSeconds(10L * index), 7);
        }
        for (int index = 90; index < 120; index++) {
            give("GPU-a", NOON.plusSeconds(10L * index), 0);
        }
        List<JsonNode> minutes = bench.read("gpu-metrics-1min");
        assertEquals(15 + 15 + 4, minutes.size());
        List<JsonNode> quarters = bench.read("gpu-metrics-15min");
        assertEquals(List.of("GPU-a", "GPU-ab"), quarters.stream().map(quarter -> quarter.get("gpu_uuid").asText()).toList());
        JsonNode quarter = quarters.get(0);
        assertEquals("15m", quarter.get("window").asText());
        assertEquals("2026-02-11T12:00:00.000Z", quarter.get("window_start").asText());
        assertEquals("2026-02-11T12:15:00.000Z", quarter.get("window_end").asText());
        assertEquals(90, quarter.get("count").asInt());
        double[] sorted = Arrays.stream(values).sorted().toArray();
        JsonNode level = quarter.get("metrics").get("gpu_temp_c");
        assertEquals(sorted[44], level.get("p50").asDouble());
        assertEquals(sorted[85], level.get("p95").asDouble());
        assertEquals(sorted[89], level.get("p99").asDouble());
        assertEquals(Arrays.stream(values).sum() / 90, level.get("mean").asDouble());
        assertEquals(90, quarters.get(1).get("count").asInt());
    }

    @Test
    void aBacklogThatIsReadWithinOneSecondLosesNoWindow() {
        start("memory");
        for (int minute = 0; minute < 300; minute++) {
            bench.input("gpu-metrics-enriched").pipeInput(Bench.GPU, Bench.hot(NOON.plusSeconds(60L * minute), 60), NOON);
        }
        bench.driver.advanceWallClockTime(Duration.ofSeconds(2));
        give(Bench.GPU, NOON.plusSeconds(60L * 300), 60);
        assertEquals(299, bench.read("gpu-metrics-1min").size());
        assertEquals(19, bench.read("gpu-metrics-15min").size());
    }

    @Test
    void allNumbersOfAReadingAreAggregatedAndWhatIsNotReadableIsADeadLetter() {
        start("rocksdb");
        var input = bench.input("gpu-metrics-enriched");
        byte[] reading = Bench.reading(
                Bench.GPU,
                NOON,
                "{\"memory\":{\"ecc_sbe_volatile\":3,\"bank_remap_avail\":{\"max\":640},\"utilization_pct\":null},"
                        + "\"errors\":{\"xid_counts\":{\"79\":1}},\"unknown\":{\"x\":[{}]}}");
        input.pipeInput(Bench.GPU, reading, NOON);
        input.pipeInput(Bench.GPU, Bench.bytes("{\"timestamp\":5"), NOON);
        input.pipeInput(Bench.GPU, Bench.bytes("{\"metrics\":{}}"), NOON);
        input.pipeInput(Bench.GPU, null, NOON);
        input.pipeInput(null, reading, NOON);
        give(Bench.GPU, NOON.plusSeconds(90), 60);
        JsonNode window = bench.read("gpu-metrics-1min").get(0);
        assertEquals(2, window.get("metrics").size());
        assertEquals(3.0, window.get("metrics").get("ecc_sbe_volatile").get("max").asDouble());
        assertEquals(640.0, window.get("metrics").get("bank_remap_max").get("p99").asDouble());
        var dead = bench.records("gpu-metrics-invalid");
        assertEquals(
                List.of("unreadable_reading", "unreadable_reading", "missing_value", "missing_key"),
                dead.stream()
                        .map(letter -> Bench.json(letter.value()).get("validation_errors").get(0).get("code").asText())
                        .toList());
        assertEquals("gpu-metrics-enriched/0/4", Bench.source(dead.get(3)));
    }

    @Test
    void ranksAreTheNearest() {
        start("memory");
        double[] ten = IntStream.rangeClosed(1, 10).asDoubleStream().toArray();
        assertEquals(5, Rows.rank(ten, 50));
        assertEquals(10, Rows.rank(ten, 95));
        assertEquals(3, Rows.rank(new double[] {3}, 50));
        assertEquals(99, Rows.rank(IntStream.rangeClosed(1, 100).asDoubleStream().toArray(), 99));
    }
}
