import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams doing the same as the product's lean reducer: an event is decoded and validated, dropped where its row
 * is there already, counted and digested into its workflow's head, and stored as a row; two stores, each with its cache
 * and its changelog. Left out, to its advantage: identities of conflicting contents, decisions, marks, dead letters.
 *
 * Arguments: bootstrap, topic, application id, state directory, then Streams properties as name=value.
 */
public final class KafkaStreamsPeer {
    private static final String EVENTS = "events";
    private static final String HEADS = "heads";

    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("application.id", arguments[2]);
        properties.put("state.dir", arguments[3]);
        properties.put("auto.offset.reset", "earliest");
        for (int i = 4; i < arguments.length; i++) {
            int at = arguments[i].indexOf('=');
            properties.put(arguments[i].substring(0, at), arguments[i].substring(at + 1));
        }
        Topology topology = new Topology();
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), arguments[1]);
        topology.addProcessor("fold", Fold::new, "source");
        topology.addStateStore(store(EVENTS), "fold");
        topology.addStateStore(store(HEADS), "fold");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static StoreBuilder<KeyValueStore<Bytes, byte[]>> store(String name) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.Bytes(), Serdes.ByteArray())
                .withCachingEnabled()
                .withLoggingEnabled(Map.of());
    }

    private static final class Fold implements Processor<byte[], byte[], Void, Void> {
        private static final ObjectMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                        .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(64).build())
                        .build())
                .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .build();

        private ProcessorContext<Void, Void> context;
        private KeyValueStore<Bytes, byte[]> events;
        private KeyValueStore<Bytes, byte[]> heads;
        private MessageDigest sha256;

        @Override
        public void init(ProcessorContext<Void, Void> given) {
            context = given;
            events = given.getStateStore(EVENTS);
            heads = given.getStateStore(HEADS);
            try {
                sha256 = MessageDigest.getInstance("SHA-256");
            } catch (NoSuchAlgorithmException impossible) {
                throw new IllegalStateException(impossible);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            byte[] content = record.value();
            try {
                JsonNode event = MAPPER.readTree(content);
                Valid.check(event);
                String workflow = event.get("tenant_id").textValue() + '\0' + event.get("workflow_id").textValue();
                long occurred = micros(event.get("occurred_at").textValue());
                Bytes row = rowKey(workflow, occurred, event.get("event_id").textValue());
                if (events.get(row) != null) {
                    return;
                }
                byte[] digest = sha256.digest(content);
                Bytes key = Bytes.wrap(workflow.getBytes(StandardCharsets.UTF_8));
                byte[] stored = heads.get(key);
                Head head = stored == null ? new Head() : Head.decode(stored);
                long offset = context.recordMetadata().orElseThrow().offset();
                head.apply(event, occurred, record.timestamp(), offset, digest);
                events.put(row, eventRow(head.commit, offset, content));
                heads.put(key, head.encode());
            } catch (IOException unreadable) {
                throw new IllegalArgumentException("no event", unreadable);
            }
        }

        private static long micros(String text) {
            Instant moment = Instant.parse(text);
            return moment.getEpochSecond() * 1_000_000 + moment.getNano() / 1_000;
        }

        private static Bytes rowKey(String workflow, long occurred, String id) {
            byte[] prefix = workflow.getBytes(StandardCharsets.UTF_8);
            byte[] name = id.getBytes(StandardCharsets.UTF_8);
            return Bytes.wrap(ByteBuffer.allocate(prefix.length + 1 + 8 + name.length)
                    .put(prefix)
                    .put((byte) 0)
                    .putLong(occurred ^ Long.MIN_VALUE)
                    .put(name)
                    .array());
        }

        private static byte[] eventRow(long commit, long offset, byte[] content) {
            return ByteBuffer.allocate(17 + content.length)
                    .put((byte) 1)
                    .putLong(commit)
                    .putLong(offset)
                    .put(content)
                    .array();
        }
    }

    /** The rules of the envelope and of the two types in the log. */
    private static final class Valid {
        private static final Set<String> OUTCOMES = Set.of("allow", "deny", "modify", "escalate", "error");

        static void check(JsonNode event) {
            for (String name : new String[] {
                "event_id", "event_type", "workflow_id", "tenant_id", "occurred_at", "source", "agent_id"
            }) {
                text(event, name, 256);
            }
            for (String name : new String[] {"decision_id", "trace_id", "span_id", "correlation_id", "parent_event_id"}) {
                if (event.hasNonNull(name)) {
                    text(event, name, 128);
                }
            }
            require(event.path("schema_version").isInt(), "schema_version");
            JsonNode data = event.path("data");
            require(data.isObject(), "data");
            switch (event.get("event_type").textValue()) {
                case "policy.evaluated" -> {
                    text(data, "policy_id", 256);
                    require(OUTCOMES.contains(data.path("outcome").textValue()), "outcome");
                }
                case "model.invocation_completed" -> {
                    text(data, "provider", 128);
                    text(data, "model", 128);
                    count(data, "latency_ms");
                    if (data.hasNonNull("prompt_template")) {
                        text(data.get("prompt_template"), "template_id", 256);
                        text(data.get("prompt_template"), "version", 128);
                    }
                    if (data.hasNonNull("tokens")) {
                        count(data.get("tokens"), "input");
                        count(data.get("tokens"), "output");
                    }
                    for (JsonNode feature : data.path("features")) {
                        require(feature.isObject(), "features");
                    }
                }
                default -> throw new IllegalArgumentException("event_type");
            }
        }

        private static void text(JsonNode node, String name, int longest) {
            JsonNode value = node.path(name);
            require(value.isTextual() && !value.textValue().isEmpty() && value.textValue().length() <= longest, name);
        }

        private static void count(JsonNode node, String name) {
            JsonNode value = node.path(name);
            require(value.isMissingNode() || value.canConvertToLong() && value.longValue() >= 0, name);
        }

        private static void require(boolean holds, String name) {
            if (!holds) {
                throw new IllegalArgumentException(name);
            }
        }
    }

    /** A workflow's head; the digest is the sum of its contents' SHA-256 modulo 2^256. */
    private static final class Head {
        private static final BigInteger MODULUS = BigInteger.ONE.shiftLeft(256);

        private long first = Long.MAX_VALUE;
        private long last = Long.MIN_VALUE;
        private long commit;
        private long applied;
        private int count;
        private BigInteger digest = BigInteger.ZERO;
        private final TreeMap<String, Integer> counts = new TreeMap<>();
        private final TreeMap<String, Integer> outcomes = new TreeMap<>();
        private final TreeSet<String> agents = new TreeSet<>();
        private final TreeSet<String> traces = new TreeSet<>();
        private final TreeSet<String> templates = new TreeSet<>();
        private final TreeSet<String> models = new TreeSet<>();

        void apply(JsonNode event, long occurred, long appended, long offset, byte[] share) {
            count++;
            first = Math.min(first, occurred);
            last = Math.max(last, occurred);
            commit = Math.max(appended * 1000, commit + 1);
            applied = offset + 1;
            digest = digest.add(new BigInteger(1, share)).mod(MODULUS);
            counts.merge(event.get("event_type").textValue(), 1, Integer::sum);
            agents.add(event.get("agent_id").textValue());
            if (event.hasNonNull("trace_id")) {
                traces.add(event.get("trace_id").textValue());
            }
            JsonNode data = event.get("data");
            if (data.has("outcome")) {
                outcomes.merge(data.get("outcome").textValue(), 1, Integer::sum);
            }
            if (data.has("model")) {
                models.add(data.get("provider").textValue() + "/" + data.get("model").textValue());
            }
            JsonNode template = data.path("prompt_template");
            if (template.isObject()) {
                templates.add(template.get("template_id").textValue() + "@" + template.get("version").textValue());
            }
        }

        byte[] encode() throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeLong(first);
            out.writeLong(last);
            out.writeLong(commit);
            out.writeLong(applied);
            out.writeInt(count);
            byte[] sum = digest.toByteArray();
            out.writeByte(sum.length);
            out.write(sum);
            for (TreeMap<String, Integer> map : java.util.List.of(counts, outcomes)) {
                out.writeShort(map.size());
                for (Map.Entry<String, Integer> entry : map.entrySet()) {
                    out.writeUTF(entry.getKey());
                    out.writeInt(entry.getValue());
                }
            }
            for (TreeSet<String> set : java.util.List.of(agents, traces, templates, models)) {
                out.writeShort(set.size());
                for (String value : set) {
                    out.writeUTF(value);
                }
            }
            return bytes.toByteArray();
        }

        static Head decode(byte[] value) throws IOException {
            DataInputStream in = new DataInputStream(new ByteArrayInputStream(value));
            Head head = new Head();
            head.first = in.readLong();
            head.last = in.readLong();
            head.commit = in.readLong();
            head.applied = in.readLong();
            head.count = in.readInt();
            head.digest = new BigInteger(in.readNBytes(in.readByte()));
            for (TreeMap<String, Integer> map : java.util.List.of(head.counts, head.outcomes)) {
                for (int left = in.readShort(); left > 0; left--) {
                    map.put(in.readUTF(), in.readInt());
                }
            }
            for (TreeSet<String> set : java.util.List.of(head.agents, head.traces, head.templates, head.models)) {
                for (int left = in.readShort(); left > 0; left--) {
                    set.add(in.readUTF());
                }
            }
            return head;
        }
    }
}
