package peer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EnricherTest {
    private static final String VALIDATED = "{\"a\":[1.50], \"validation_timestamp\":\"2026-02-11T10:30:00.456Z\",\"quality_flags\":[] }";

    @TempDir
    Path state;

    private Bench bench;

    @BeforeEach
    void start() {
        bench = new Bench("enricher", state, "rocksdb", Enricher::topology);
    }

    @AfterEach
    void stop() {
        bench.close();
    }

    private void asset(String value) {
        bench.input("gpu-assets").pipeInput(Bench.GPU, value == null ? null : Bench.bytes(value));
    }

    private String enriched() {
        bench.input("gpu-metrics-validated").pipeInput(Bench.GPU, Bench.bytes(VALIDATED));
        var out = bench.records("gpu-metrics-enriched");
        assertEquals(1, out.size());
        return new String(out.get(0).value(), StandardCharsets.UTF_8);
    }

    @Test
    void aKnownGpuGetsItsAssetAndNothingElseChanges() {
        asset("{\"gpu_uuid\":\"" + Bench.GPU + "\",\"model\":\"NVIDIA H100 80GB HBM3\",\"serial\":\"1\",\"rack_id\":\"rack-12\","
                + "\"region\":null,\"warranty_expiry\":\"2026-03-01\",\"sla_tier\":\"production\",\"priority\":2}");
        assertEquals(
                VALIDATED.substring(0, VALIDATED.length() - 1)
                        + ",\"asset_status\":\"known\",\"asset\":{\"model\":\"NVIDIA H100 80GB HBM3\",\"rack_id\":\"rack-12\","
                        + "\"warranty_expiry\":\"2026-03-01\",\"sla_tier\":\"production\",\"priority\":2,"
                        + "\"warranty_status\":\"expiring\"}}",
                enriched());
    }

    @Test
    void aGpuThatNoInventoryKnowsGoesOnAsUnknown() {
        String unknown = VALIDATED.substring(0, VALIDATED.length() - 1) + ",\"asset_status\":\"unknown\"}";
        assertEquals(unknown, enriched());
        asset("no JSON");
        assertEquals(unknown, enriched());
        asset("{\"model\":\"T4\"}");
        assertEquals("T4", Bench.json(Bench.bytes(enriched())).get("asset").get("model").asText());
        asset(null);
        assertEquals(unknown, enriched());
    }

    @Test
    void eachRecordComesOutOnceWithItsSource() {
        bench.input("gpu-metrics-validated").pipeInput(Bench.GPU, Bench.bytes(VALIDATED));
        bench.input("gpu-metrics-validated").pipeInput(Bench.GPU, Bench.bytes("[]"));
        bench.input("gpu-metrics-validated").pipeInput(Bench.GPU, null);
        var good = bench.records("gpu-metrics-enriched");
        assertEquals(1, good.size());
        assertEquals("gpu-metrics-validated/0/0", Bench.source(good.get(0)));
        var dead = bench.records("gpu-metrics-invalid");
        assertEquals(2, dead.size());
        assertEquals("gpu-metrics-validated/0/1", Bench.source(dead.get(0)));
        assertEquals("gpu-metrics-validated/0/2", Bench.source(dead.get(1)));
        JsonNode letter = Bench.json(dead.get(0).value());
        assertEquals("not_an_object", letter.get("validation_errors").get(0).get("code").asText());
        assertEquals("[]", letter.get("original").asText());
    }

    @Test
    void splicingAddsAMemberToWhateverIsAnObject() {
        assertEquals("{\"b\":1}", new String(Json.splice(Bench.bytes("{}"), "\"b\":1").orElseThrow(), StandardCharsets.UTF_8));
        assertEquals(" { \"b\":1}", new String(Json.splice(Bench.bytes(" { }\n"), "\"b\":1").orElseThrow(), StandardCharsets.UTF_8));
        for (String text : new String[] {"", " ", "{", "}", "[]", "{\"a\":1"}) {
            assertFalse(Json.splice(Bench.bytes(text), "\"b\":1").isPresent(), text);
        }
    }

    @Test
    void warrantyExpiryIsTheLastDayCovered() {
        Optional<LocalDate> day = Optional.of(LocalDate.parse("2026-03-01"));
        assertEquals("expired", Enricher.warranty("2026-02-28", day));
        assertEquals("expiring", Enricher.warranty("2026-03-01", day));
        assertEquals("expiring", Enricher.warranty("2026-05-30", day));
        assertEquals("active", Enricher.warranty("2026-05-31", day));
        assertEquals("unknown", Enricher.warranty("soon", day));
        assertEquals("unknown", Enricher.warranty("2026-05-31", Optional.empty()));
    }
}
