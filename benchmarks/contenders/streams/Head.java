import com.fasterxml.jackson.databind.JsonNode;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.util.TreeMap;
import java.util.TreeSet;

/** A workflow at a glance; the digest is the sum of its contents' SHA-256 modulo 2^256. */
final class Head {
    private static final BigInteger MODULUS = BigInteger.ONE.shiftLeft(256);

    long commit;
    int count;
    int late;
    int duplicates;
    int conflicts;
    BigInteger digest = BigInteger.ZERO;
    final TreeMap<String, Long> applied = new TreeMap<>();
    final TreeMap<String, Long> reached = new TreeMap<>();
    private long first = Long.MAX_VALUE;
    private long last = Long.MIN_VALUE;
    private final TreeMap<String, Long> counts = new TreeMap<>();
    private final TreeMap<String, Long> outcomes = new TreeMap<>();
    private final TreeSet<String> agents = new TreeSet<>();
    private final TreeSet<String> correlations = new TreeSet<>();
    private final TreeSet<String> traces = new TreeSet<>();
    private final TreeSet<String> templates = new TreeSet<>();
    private final TreeSet<String> models = new TreeSet<>();

    void apply(JsonNode event, long occurred, byte[] share) {
        count++;
        first = Math.min(first, occurred);
        last = Math.max(last, occurred);
        digest = digest.add(new BigInteger(1, share)).mod(MODULUS);
        counts.merge(event.get("event_type").textValue(), 1L, Long::sum);
        Wire.put(agents, event.get("agent_id").textValue());
        Wire.put(correlations, event.path("correlation_id").textValue());
        Wire.put(traces, event.path("trace_id").textValue());
        JsonNode data = event.get("data");
        if (data.has("outcome")) {
            outcomes.merge(data.get("outcome").textValue(), 1L, Long::sum);
        }
        if (data.has("model")) {
            Wire.put(models, Wire.model(data));
        }
        Wire.put(templates, Wire.template(data));
    }

    byte[] encode() throws IOException {
        Wire.Bytes bytes = new Wire.Bytes();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeByte(1);
        out.writeLong(first);
        out.writeLong(last);
        out.writeLong(commit);
        out.writeInt(count);
        out.writeInt(late);
        out.writeInt(duplicates);
        out.writeInt(conflicts);
        byte[] sum = digest.toByteArray();
        out.writeByte(sum.length);
        out.write(sum);
        Wire.write(out, applied, reached, counts, outcomes);
        Wire.write(out, agents, correlations, traces, templates, models);
        return bytes.toByteArray();
    }

    /** A new head where nothing is stored. */
    static Head decode(byte[] value) throws IOException {
        Head head = new Head();
        if (value == null) {
            return head;
        }
        DataInputStream in = Wire.opened(value);
        head.first = in.readLong();
        head.last = in.readLong();
        head.commit = in.readLong();
        head.count = in.readInt();
        head.late = in.readInt();
        head.duplicates = in.readInt();
        head.conflicts = in.readInt();
        head.digest = new BigInteger(in.readNBytes(in.readByte()));
        Wire.read(in, head.applied, head.reached, head.counts, head.outcomes);
        Wire.read(in, head.agents, head.correlations, head.traces, head.templates, head.models);
        return head;
    }
}
