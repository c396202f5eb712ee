import com.fasterxml.jackson.databind.JsonNode;
import java.util.Set;

/** The rules of the envelope and of the two event types in the log, as topics/ has them. */
final class Valid {
    private static final Set<String> OUTCOMES = Set.of("allow", "deny", "redact", "escalate");
    private static final Set<String> BANDS = Set.of("fast", "normal", "slow", "timeout");
    private static final Set<String> CLASSES = Set.of("public", "internal", "confidential", "restricted");
    private static final long MAX_COUNT = (1L << 53) - 1;

    /** Throws IllegalArgumentException with the name of a field that breaks a rule. */
    static void check(JsonNode event) {
        require(event.isObject(), "event");
        text(event, "event_id", 128, true);
        text(event, "event_type", 128, true);
        count(event, "schema_version", true, 1, 1);
        text(event, "workflow_id", 256, true);
        text(event, "occurred_at", 64, true);
        text(event, "tenant_id", 128, true);
        text(event, "source", 200, true);
        text(event, "agent_id", 128, true);
        text(event, "decision_id", 128, false);
        text(event, "parent_event_id", 128, false);
        text(event, "correlation_id", 128, false);
        text(event, "original_event_id", 128, false);
        hex(event, "trace_id", 32, false);
        hex(event, "span_id", 16, false);
        text(event, "subject_id", 128, false);
        text(event, "key_id", 128, false);
        JsonNode data = event.path("data");
        require(data.isObject(), "data");
        switch (event.get("event_type").textValue()) {
            case "policy.evaluated" -> policy(data);
            case "model.invocation_completed" -> invocation(data);
            default -> throw new IllegalArgumentException("event_type");
        }
    }

    private static void policy(JsonNode data) {
        text(data, "policy_id", 128, true);
        text(data, "policy_version", 100, false);
        text(data, "rule_id", 128, false);
        oneOf(data, "outcome", OUTCOMES, true);
        text(data, "enforced_action", 200, false);
        text(data, "reason_code", 100, false);
        text(data, "evaluated_event_id", 128, false);
        count(data, "latency_ms", false, 0, MAX_COUNT);
        artefact(data, "input", false);
        explanation(data);
    }

    private static void invocation(JsonNode data) {
        text(data, "provider", 200, true);
        text(data, "model", 200, true);
        text(data, "model_version", 200, false);
        JsonNode template = data.path("prompt_template");
        if (given(template)) {
            text(template, "template_id", 128, true);
            text(template, "version", 100, true);
            hex(template, "sha256", 64, false);
        }
        count(data, "latency_ms", false, 0, MAX_COUNT);
        oneOf(data, "latency_band", BANDS, false);
        JsonNode tokens = data.path("tokens");
        if (given(tokens)) {
            count(tokens, "input", true, 0, MAX_COUNT);
            count(tokens, "output", true, 0, MAX_COUNT);
            count(tokens, "cached", false, 0, MAX_COUNT);
            count(tokens, "reasoning", false, 0, MAX_COUNT);
        }
        text(data, "finish_reason", 100, false);
        JsonNode temperature = data.path("temperature");
        require(!given(temperature) || temperature.isNumber() && Math.abs(temperature.doubleValue()) <= 1e12, "temperature");
        count(data, "attempt", false, 1, 1_000_000);
        for (JsonNode feature : list(data, "features")) {
            text(feature, "name", 200, true);
            text(feature, "version", 100, false);
            artefact(feature, "value", true);
        }
        for (JsonNode call : list(data, "tool_call_ids")) {
            require(call.isTextual() && !call.textValue().isEmpty() && call.textValue().length() <= 128, "tool_call_ids");
        }
        artefact(data, "prompt", false);
        artefact(data, "completion", false);
    }

    private static void explanation(JsonNode data) {
        JsonNode value = data.path("explanation");
        require(!given(value) || value.isTextual() && value.textValue().length() <= 16_384, "explanation");
    }

    private static void artefact(JsonNode node, String name, boolean required) {
        JsonNode value = node.path(name);
        if (!given(value)) {
            require(!required, name);
            return;
        }
        text(value, "uri", 2048, true);
        hex(value, "sha256", 64, true);
        text(value, "media_type", 200, true);
        count(value, "size_bytes", true, 0, MAX_COUNT);
        oneOf(value, "classification", CLASSES, true);
        text(value, "key_id", 128, false);
    }

    private static JsonNode list(JsonNode node, String name) {
        JsonNode value = node.path(name);
        require(value.isMissingNode() || value.isArray() && value.size() <= 128, name);
        return value;
    }

    private static void text(JsonNode node, String name, int longest, boolean required) {
        JsonNode value = node.path(name);
        if (!given(value)) {
            require(!required, name);
            return;
        }
        String text = value.textValue();
        require(text != null && !text.isEmpty() && text.length() <= longest && text.indexOf('\0') < 0, name);
    }

    private static void oneOf(JsonNode node, String name, Set<String> values, boolean required) {
        JsonNode value = node.path(name);
        require(given(value) ? value.isTextual() && values.contains(value.textValue()) : !required, name);
    }

    private static void hex(JsonNode node, String name, int length, boolean required) {
        JsonNode value = node.path(name);
        if (!given(value)) {
            require(!required, name);
            return;
        }
        String text = value.textValue();
        require(text != null && text.length() == length, name);
        for (int i = 0; i < length; i++) {
            char digit = text.charAt(i);
            require(digit >= '0' && digit <= '9' || digit >= 'a' && digit <= 'f', name);
        }
    }

    private static void count(JsonNode node, String name, boolean required, long least, long most) {
        JsonNode value = node.path(name);
        if (!given(value)) {
            require(!required, name);
            return;
        }
        require(value.isIntegralNumber() && value.canConvertToLong(), name);
        require(value.longValue() >= least && value.longValue() <= most, name);
    }

    private static boolean given(JsonNode value) {
        return !value.isMissingNode() && !value.isNull();
    }

    private static void require(boolean holds, String name) {
        if (!holds) {
            throw new IllegalArgumentException(name);
        }
    }
}
