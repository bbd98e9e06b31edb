package peer;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A metric of a reading. {@code path} leads to it under {@code metrics}; {@code min} and {@code max} are both allowed. */
record Metric(String[] path, String name, double min, double max) {
    static final List<Metric> ALL = load();
    private static final Map<String, Integer> INDEX = index();

    /** The place in {@link #ALL} of the metric of that name, -1 if there is none. Names are unique among all groups. */
    static int indexOf(String name) {
        return INDEX.getOrDefault(name, -1);
    }

    /** {@code max} in {@code bank_remap_avail} is the metric {@code bank_remap_max}; elsewhere a member has the metric's name. */
    static String prefix(String member) {
        return member.equals("bank_remap_avail") ? "bank_remap_" : "";
    }

    private static List<Metric> load() {
        var resource = Metric.class.getResourceAsStream("metrics.txt");
        try (var reader = new BufferedReader(new InputStreamReader(resource, StandardCharsets.UTF_8))) {
            return reader.lines().filter(line -> !line.startsWith("#")).map(Metric::parse).toList();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Metric parse(String line) {
        String[] words = line.split(" ");
        String[] path = words[0].split("\\.");
        String name = prefix(path[path.length - 2]) + path[path.length - 1];
        return new Metric(path, name, Double.parseDouble(words[1]), Double.parseDouble(words[2]));
    }

    private static Map<String, Integer> index() {
        Map<String, Integer> index = new HashMap<>();
        for (int place = 0; place < ALL.size(); place++) {
            index.put(ALL.get(place).name(), place);
        }
        return Map.copyOf(index);
    }
}
