package peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.Optional;

/** What all stages need of JSON. */
final class Json {
    static final ObjectMapper MAPPER = JsonMapper.builder(
                    JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();
    /** Without the search for duplicates, for records that the validator has let through. */
    static final JsonFactory FACTORY = new JsonFactory();

    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    private Json() {}

    static String time(long epochMs) {
        return TIME.format(Instant.ofEpochMilli(epochMs));
    }

    /** An RFC 3339 time; nothing where it is none, or one outside the years 0 to 9999. */
    static Optional<Instant> time(String text) {
        try {
            return text.matches("\\d{4}-.*") ? Optional.of(Instant.parse(text)) : Optional.empty();
        } catch (DateTimeException error) {
            return Optional.empty();
        }
    }

    /**
     * The object's bytes with {@code members} added before its closing brace; nothing if the bytes don't begin and end like
     * an object. A stage that only adds members has no need to write the rest anew.
     */
    static Optional<byte[]> splice(byte[] object, String members) {
        int first = 0;
        while (first < object.length && isBlank(object[first])) {
            first++;
        }
        int last = object.length - 1;
        while (last > first && isBlank(object[last])) {
            last--;
        }
        if (last <= first || object[first] != '{' || object[last] != '}') {
            return Optional.empty();
        }
        int before = last - 1;
        while (isBlank(object[before])) {
            before--;
        }
        String text = (object[before] == '{' ? "" : ",") + members + "}";
        byte[] tail = text.getBytes(StandardCharsets.UTF_8);
        byte[] whole = Arrays.copyOf(object, last + tail.length);
        System.arraycopy(tail, 0, whole, last, tail.length);
        return Optional.of(whole);
    }

    private static boolean isBlank(byte character) {
        return character == ' ' || character == '\n' || character == '\r' || character == '\t';
    }
}
