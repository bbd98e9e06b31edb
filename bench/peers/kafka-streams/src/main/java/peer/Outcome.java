package peer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ProcessingContext;
import org.apache.kafka.streams.processor.api.Record;

/** What becomes of an input record: a value that goes on, or a dead letter. */
record Outcome(byte[] value, boolean dead) {
    private static final int MAX_ORIGINAL_BYTES = 512 * 1024;
    private static final int MAX_KEY_BYTES = 1024;

    /** Why a record was given up. */
    record Reason(String code, String field, String message) {}

    static void route(KStream<byte[], Outcome> outcomes, String to, String deadLetters) {
        Produced<byte[], byte[]> bytes = Produced.with(Serdes.ByteArray(), Serdes.ByteArray());
        outcomes.split()
                .branch(
                        (key, outcome) -> outcome.dead(),
                        Branched.withConsumer(dead -> dead.mapValues(Outcome::value).to(deadLetters, bytes)))
                .defaultBranch(Branched.withConsumer(good -> good.mapValues(Outcome::value).to(to, bytes)));
    }

    static Record<byte[], Outcome> good(Record<byte[], byte[]> input, byte[] value, ProcessingContext context) {
        return new Record<>(input.key(), new Outcome(value, false), input.timestamp(), Lineage.of(context));
    }

    /** A dead letter in the shape that all stages of the pipeline write; {@code ingestMs} is the original's ingest time. */
    static Record<byte[], Outcome> dead(
            String service, Record<byte[], byte[]> input, long ingestMs, List<Reason> reasons, ProcessingContext context) {
        byte[] key = input.key() == null || input.key().length > MAX_KEY_BYTES ? null : input.key();
        byte[] letter = letter(service, key, input.value(), ingestMs, reasons, context);
        return new Record<>(key, new Outcome(letter, true), input.timestamp(), Lineage.of(context));
    }

    private static byte[] letter(
            String service, byte[] key, byte[] value, long ingestMs, List<Reason> reasons, ProcessingContext context) {
        byte[] original = value == null ? new byte[0] : value;
        byte[] kept = Arrays.copyOf(original, Math.min(original.length, MAX_ORIGINAL_BYTES));
        String text = utf8(kept);
        ObjectNode letter = Json.MAPPER.createObjectNode();
        letter.put("service", service).put("version", Validator.VERSION).put("timestamp", Json.time(ingestMs));
        ObjectNode source = letter.putObject("source");
        context.recordMetadata().ifPresent(place -> source.put("topic", place.topic())
                .put("partition", place.partition())
                .put("offset", place.offset()));
        letter.put("key", key == null ? null : utf8(key));
        letter.put("original", text == null ? Base64.getEncoder().encodeToString(kept) : text);
        letter.put("original_encoding", text == null ? "base64" : "utf8");
        letter.put("original_size_bytes", original.length);
        letter.put("original_truncated", kept.length < original.length);
        var errors = letter.putArray("validation_errors");
        for (Reason reason : reasons) {
            ObjectNode error = errors.addObject().put("code", reason.code());
            if (reason.field() != null) {
                error.put("field", reason.field());
            }
            error.put("message", reason.message());
        }
        try {
            return Json.MAPPER.writeValueAsBytes(letter);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String utf8(byte[] bytes) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException error) {
            return null;
        }
    }
}
