import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams doing the product's fold (see Fold): a store for each kind of row, each with its changelog.
 *
 * Arguments: bootstrap, topic, application id, state directory, the rows kept (all or lean), whether what is written
 * once (event and identity rows) goes through the cache as well, then Streams properties as name=value.
 */
public final class KafkaStreamsPeer {
    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("application.id", arguments[2]);
        properties.put("state.dir", arguments[3]);
        properties.put("auto.offset.reset", "earliest");
        for (int i = 6; i < arguments.length; i++) {
            int at = arguments[i].indexOf('=');
            properties.put(arguments[i].substring(0, at), arguments[i].substring(at + 1));
        }
        List<Fold.Kind> kept = Fold.Kind.kept(arguments[4]);
        boolean all = Boolean.parseBoolean(arguments[5]);
        Topology topology = new Topology();
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), arguments[1]);
        topology.addProcessor("fold", () -> new Materialise(kept), "source");
        for (Fold.Kind kind : kept) {
            topology.addStateStore(store(kind, all || !kind.writtenOnce), "fold");
        }
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static StoreBuilder<KeyValueStore<Bytes, byte[]>> store(Fold.Kind kind, boolean cached) {
        StoreBuilder<KeyValueStore<Bytes, byte[]>> builder = Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(kind.name()), Serdes.Bytes(), Serdes.ByteArray())
                .withLoggingEnabled(Map.of());
        return cached ? builder.withCachingEnabled() : builder.withCachingDisabled();
    }

    private static final class Materialise implements Processor<byte[], byte[], Void, Void> {
        private final List<Fold.Kind> kept;
        private ProcessorContext<Void, Void> context;
        private Fold fold;

        Materialise(List<Fold.Kind> kept) {
            this.kept = kept;
        }

        @Override
        public void init(ProcessorContext<Void, Void> given) {
            context = given;
            List<Fold.Table> tables = new ArrayList<>();
            for (Fold.Kind kind : kept) {
                tables.add(table(given.getStateStore(kind.name())));
            }
            fold = new Fold(tables);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            RecordMetadata at = context.recordMetadata().orElseThrow();
            fold.apply(record.value(), record.timestamp(), at.topic(), at.partition(), at.offset());
        }

        private static Fold.Table table(KeyValueStore<Bytes, byte[]> store) {
            return new Fold.Table() {
                @Override
                public byte[] get(Bytes key) {
                    return store.get(key);
                }

                @Override
                public void put(Bytes key, byte[] value) {
                    store.put(key, value);
                }
            };
        }
    }
}
