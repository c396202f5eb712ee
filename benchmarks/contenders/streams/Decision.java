import com.fasterxml.jackson.databind.JsonNode;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.TreeMap;
import java.util.TreeSet;

/** What one decision of a workflow came to. */
final class Decision {
    final TreeMap<String, Long> applied = new TreeMap<>();
    private long first = Long.MAX_VALUE;
    private long last = Long.MIN_VALUE;
    private int count;
    private long modelAt = Long.MIN_VALUE;
    private String model = "";
    private long templateAt = Long.MIN_VALUE;
    private String template = "";
    private long latencyMs;
    private long tokensIn;
    private long tokensOut;
    private final TreeMap<String, Long> counts = new TreeMap<>();
    private final TreeMap<String, Long> outcomes = new TreeMap<>();
    private final TreeSet<String> agents = new TreeSet<>();
    private final TreeSet<String> templates = new TreeSet<>();
    private final TreeSet<String> models = new TreeSet<>();
    private final TreeSet<String> policies = new TreeSet<>();

    void apply(JsonNode event, long occurred) {
        count++;
        first = Math.min(first, occurred);
        last = Math.max(last, occurred);
        counts.merge(event.get("event_type").textValue(), 1L, Long::sum);
        Wire.put(agents, event.get("agent_id").textValue());
        JsonNode data = event.get("data");
        if (data.has("model")) {
            String used = Wire.model(data);
            Wire.put(models, used);
            if (occurred >= modelAt) {
                modelAt = occurred;
                model = used;
            }
            latencyMs += data.path("latency_ms").asLong();
            tokensIn += data.path("tokens").path("input").asLong();
            tokensOut += data.path("tokens").path("output").asLong();
        }
        String prompt = Wire.template(data);
        if (prompt != null) {
            Wire.put(templates, prompt);
            if (occurred >= templateAt) {
                templateAt = occurred;
                template = prompt;
            }
        }
        if (data.has("outcome")) {
            String outcome = data.get("outcome").textValue();
            String version = data.hasNonNull("policy_version") ? "@" + data.get("policy_version").textValue() : "";
            outcomes.merge(outcome, 1L, Long::sum);
            Wire.put(policies, data.get("policy_id").textValue() + version + " " + outcome);
        }
    }

    byte[] encode() throws IOException {
        Wire.Bytes bytes = new Wire.Bytes();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeByte(1);
        out.writeLong(first);
        out.writeLong(last);
        out.writeInt(count);
        out.writeLong(modelAt);
        out.writeUTF(model);
        out.writeLong(templateAt);
        out.writeUTF(template);
        out.writeLong(latencyMs);
        out.writeLong(tokensIn);
        out.writeLong(tokensOut);
        Wire.write(out, applied, counts, outcomes);
        Wire.write(out, agents, templates, models, policies);
        return bytes.toByteArray();
    }

    /** A new decision where nothing is stored. */
    static Decision decode(byte[] value) throws IOException {
        Decision decision = new Decision();
        if (value == null) {
            return decision;
        }
        DataInputStream in = Wire.opened(value);
        decision.first = in.readLong();
        decision.last = in.readLong();
        decision.count = in.readInt();
        decision.modelAt = in.readLong();
        decision.model = in.readUTF();
        decision.templateAt = in.readLong();
        decision.template = in.readUTF();
        decision.latencyMs = in.readLong();
        decision.tokensIn = in.readLong();
        decision.tokensOut = in.readLong();
        Wire.read(in, decision.applied, decision.counts, decision.outcomes);
        Wire.read(in, decision.agents, decision.templates, decision.models, decision.policies);
        return decision;
    }
}
