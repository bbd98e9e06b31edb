package peer;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.ProcessingContext;

/** The header {@code source}, as {@code docs/spec/lineage.md} defines it. Kafka Streams would pass the input's headers on. */
final class Lineage {
    private Lineage() {}

    /** Names the record that is being processed. */
    static Headers of(ProcessingContext context) {
        Headers headers = new RecordHeaders();
        context.recordMetadata().ifPresent(place -> {
            String source = place.topic() + "/" + place.partition() + "/" + place.offset();
            headers.add("source", source.getBytes(StandardCharsets.UTF_8));
        });
        return headers;
    }
}
