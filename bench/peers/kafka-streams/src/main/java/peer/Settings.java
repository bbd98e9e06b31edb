package peer;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.Stores;

/** The settings of one instance: {@code KS_...} in the environment over defaults, {@code KEY=VALUE} arguments over both. */
final class Settings {
    private static final Map<String, String> DEFAULTS = defaults();

    private final String stage;
    private final Map<String, String> values = new LinkedHashMap<>(DEFAULTS);
    private final Properties overrides = new Properties();

    /** {@code arguments} are properties of Kafka Streams. */
    Settings(String stage, Map<String, String> environment, List<String> arguments) {
        this.stage = stage;
        environment.forEach((name, value) -> {
            if (name.startsWith("KS_")) {
                if (!DEFAULTS.containsKey(name)) {
                    throw new IllegalArgumentException(name + " is no setting; there are " + new TreeSet<>(DEFAULTS.keySet()));
                }
                values.put(name, value);
            }
        });
        if (!List.of("rocksdb", "memory").contains(get("KS_STORE"))) {
            throw new IllegalArgumentException("KS_STORE is rocksdb or memory, not " + get("KS_STORE"));
        }
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            if (parts.length < 2) {
                throw new IllegalArgumentException(argument + " is not KEY=VALUE");
            }
            overrides.put(parts[0], parts[1]);
        }
    }

    private static Map<String, String> defaults() {
        Map<String, String> defaults = new LinkedHashMap<>();
        defaults.put("KS_BOOTSTRAP_SERVERS", "127.0.0.1:9092");
        defaults.put("KS_APPLICATION_ID", "");
        defaults.put("KS_CLIENT_ID", "");
        defaults.put("KS_GROUP_INSTANCE_ID", "");
        defaults.put("KS_GROUP_PROTOCOL", "classic");
        defaults.put("KS_STATE_DIR", System.getProperty("java.io.tmpdir") + "/kafka-streams-peer");
        defaults.put("KS_STORE", "rocksdb");
        defaults.put("KS_THREADS", "1");
        defaults.put("KS_STANDBYS", "0");
        defaults.put("KS_COMMIT_INTERVAL_MS", "100");
        defaults.put("KS_SESSION_TIMEOUT_MS", "6000");
        defaults.put("KS_HEARTBEAT_INTERVAL_MS", "1000");
        defaults.put("KS_TRANSACTION_TIMEOUT_MS", "10000");
        defaults.put("KS_REPLICATION_FACTOR", "-1");
        defaults.put("KS_COMPRESSION", "lz4");
        defaults.put("KS_GRACE_MS", "30000");
        defaults.put("KS_RETENTION_MS", "21600000");
        defaults.put("KS_TOPIC_RAW", "gpu-metrics-raw");
        defaults.put("KS_TOPIC_VALIDATED", "gpu-metrics-validated");
        defaults.put("KS_TOPIC_INVALID", "gpu-metrics-invalid");
        defaults.put("KS_TOPIC_ASSETS", "gpu-assets");
        defaults.put("KS_TOPIC_ENRICHED", "gpu-metrics-enriched");
        defaults.put("KS_TOPIC_1MIN", "gpu-metrics-1min");
        defaults.put("KS_TOPIC_15MIN", "gpu-metrics-15min");
        return defaults;
    }

    /** The setting of that name; for topics, whose names end in what the pipeline calls them. */
    String get(String name) {
        return values.get(name);
    }

    private String or(String name, String otherwise) {
        return get(name).isEmpty() ? otherwise : get(name);
    }

    Duration grace() {
        return Duration.ofMillis(Long.parseLong(get("KS_GRACE_MS")));
    }

    Duration retention() {
        return Duration.ofMillis(Long.parseLong(get("KS_RETENTION_MS")));
    }

    boolean isStaticMember() {
        return !get("KS_GROUP_INSTANCE_ID").isEmpty();
    }

    KeyValueBytesStoreSupplier keyValueStore(String name) {
        return inMemory() ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
    }

    private boolean inMemory() {
        return get("KS_STORE").equals("memory");
    }

    Properties properties() {
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, get("KS_BOOTSTRAP_SERVERS"));
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, or("KS_APPLICATION_ID", "ks-" + stage));
        if (!get("KS_CLIENT_ID").isEmpty()) {
            properties.put(StreamsConfig.CLIENT_ID_CONFIG, get("KS_CLIENT_ID"));
        }
        properties.put(StreamsConfig.STATE_DIR_CONFIG, get("KS_STATE_DIR"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, get("KS_THREADS"));
        properties.put(StreamsConfig.NUM_STANDBY_REPLICAS_CONFIG, get("KS_STANDBYS"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, get("KS_COMMIT_INTERVAL_MS"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, get("KS_REPLICATION_FACTOR"));
        // Every key is written about once in ten seconds: a cache that is flushed each 100 ms would only cost.
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        properties.put(
                StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
                inMemory()
                        ? BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class
                        : BuiltInDslStoreSuppliers.RocksDBDslStoreSuppliers.class);
        properties.put(StreamsConfig.GROUP_PROTOCOL_CONFIG, get("KS_GROUP_PROTOCOL"));
        if (get("KS_GROUP_PROTOCOL").equals("classic")) {
            // With the streams protocol these are settings of the group, on the broker; it knows no static members.
            main(properties, ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, get("KS_SESSION_TIMEOUT_MS"));
            main(properties, ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, get("KS_HEARTBEAT_INTERVAL_MS"));
            if (isStaticMember()) {
                main(properties, ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, get("KS_GROUP_INSTANCE_ID"));
            }
        }
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        producer(properties, ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, get("KS_TRANSACTION_TIMEOUT_MS"));
        // As our own services: a commit flushes anyway, and large batches are what throughput comes from.
        producer(properties, ProducerConfig.COMPRESSION_TYPE_CONFIG, get("KS_COMPRESSION"));
        producer(properties, ProducerConfig.LINGER_MS_CONFIG, "20");
        producer(properties, ProducerConfig.BATCH_SIZE_CONFIG, "1000000");
        // Retention looks at timestamps: a replay of old readings would lose its changelog while it writes it.
        properties.put(StreamsConfig.topicPrefix(TopicConfig.MESSAGE_TIMESTAMP_TYPE_CONFIG), "LogAppendTime");
        properties.putAll(overrides);
        return properties;
    }

    private static void main(Properties properties, String name, String value) {
        properties.put(StreamsConfig.mainConsumerPrefix(name), value);
    }

    private static void producer(Properties properties, String name, String value) {
        properties.put(StreamsConfig.producerPrefix(name), value);
    }
}
