import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Bytes;

/**
 * The product's fold, event by event: decoded, validated, dropped where it is there already, counted and digested into
 * its workflow's head and its decision, stored as a row under the product's key.
 *
 * All: head, event row, identity row by event id (other content under one id is a variant and a conflict), decision
 * row. Lean: head and event row; a duplicate is what has its row already. Left out, to the peer's advantage: canonical
 * content (the bytes as they came are digested and stored), dead letters, future versions, confidential fields, the
 * check of the partition, positions as rows.
 */
final class Fold {
    /** What is kept, in the order of the tables a fold is given. */
    enum Kind {
        heads(false),
        events(true),
        identities(true),
        decisions(false);

        final boolean writtenOnce;

        Kind(boolean writtenOnce) {
            this.writtenOnce = writtenOnce;
        }

        static List<Kind> kept(String rows) {
            return switch (rows) {
                case "all" -> List.of(values());
                case "lean" -> List.of(heads, events);
                default -> throw new IllegalArgumentException(rows);
            };
        }
    }

    interface Table {
        byte[] get(Bytes key);

        void put(Bytes key, byte[] value);
    }

    private static final byte LATE = 1;
    private static final int VARIANT_BYTES = 8;
    private static final ObjectMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .streamReadConstraints(
                            StreamReadConstraints.builder().maxNestingDepth(64).build())
                    .build())
            .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private final Table heads;
    private final Table events;
    private final Table identities;
    private final Table decisions;
    private final MessageDigest sha256;

    Fold(List<Table> tables) {
        heads = tables.get(0);
        events = tables.get(1);
        identities = tables.size() > 2 ? tables.get(2) : null;
        decisions = tables.size() > 3 ? tables.get(3) : null;
        try {
            sha256 = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Throws IllegalArgumentException for what is no event; nothing is stored then. */
    void apply(byte[] content, long appendedMs, String topic, int partition, long offset) {
        try {
            JsonNode event = MAPPER.readTree(content);
            Valid.check(event);
            long occurred = micros(event.get("occurred_at").textValue());
            fold(event, occurred, content, appendedMs, topic, partition, offset);
        } catch (IOException | DateTimeException unreadable) {
            throw new IllegalArgumentException("no event", unreadable);
        }
    }

    private void fold(
            JsonNode event, long occurred, byte[] content, long appendedMs, String topic, int partition, long offset)
            throws IOException {
        String workflow = event.get("tenant_id").textValue() + '\0' + event.get("workflow_id").textValue();
        byte[] prefix = (workflow + '\0').getBytes(StandardCharsets.UTF_8);
        byte[] id = event.get("event_id").textValue().getBytes(StandardCharsets.UTF_8);
        byte[] digest = sha256.digest(content);
        Bytes row = eventKey(prefix, occurred, id, digest);
        Bytes headKey = Bytes.wrap(workflow.getBytes(StandardCharsets.UTF_8));
        Head head = Head.decode(heads.get(headKey));
        boolean known;
        if (identities == null) {
            known = events.get(row) != null;
        } else {
            known = !firstOfItsKind(joined(prefix, id), head, digest, occurred, topic, partition, offset);
        }
        if (known) {
            head.duplicates++;
            head.applied.put(topic, offset + 1);
            heads.put(headKey, head.encode());
            return;
        }
        byte marks = 0;
        Long reached = head.reached.get(topic);
        if (reached != null && occurred < reached) {
            marks |= LATE;
            head.late++;
        } else {
            head.reached.put(topic, occurred);
        }
        head.commit = Math.max(appendedMs * 1000, head.commit + 1);
        head.apply(event, occurred, digest);
        if (decisions != null) {
            String name = event.hasNonNull("decision_id") ? event.get("decision_id").textValue() : "";
            Bytes key = joined(prefix, name.getBytes(StandardCharsets.UTF_8));
            Decision decision = Decision.decode(decisions.get(key));
            decision.apply(event, occurred);
            decision.applied.put(topic, offset + 1);
            decisions.put(key, decision.encode());
        }
        events.put(row, eventRow(marks, head.commit, topic, partition, offset, content));
        head.applied.put(topic, offset + 1);
        heads.put(headKey, head.encode());
    }

    /** Notes where this content under this id was first seen; false where it was seen before. */
    private boolean firstOfItsKind(
            Bytes key, Head head, byte[] digest, long occurred, String topic, int partition, long offset)
            throws IOException {
        byte[] stored = identities.get(key);
        byte[] name = topic.getBytes(StandardCharsets.UTF_8);
        int size = VARIANT_BYTES + 8 + 4 + 8 + 1 + name.length;
        int before = stored == null ? 1 : stored.length;
        ByteBuffer seen = ByteBuffer.allocate(before + size);
        if (stored == null) {
            seen.put((byte) 1);
        } else {
            ByteBuffer old = ByteBuffer.wrap(stored);
            int variants = 0;
            for (int at = 1; at < stored.length; variants++) {
                if (Arrays.equals(stored, at, at + VARIANT_BYTES, digest, 0, VARIANT_BYTES)) {
                    return false;
                }
                at += VARIANT_BYTES + 20 + 1 + old.get(at + VARIANT_BYTES + 20);
            }
            if (variants == 1) {
                head.conflicts++;
            }
            seen.put(stored);
        }
        seen.put(digest, 0, VARIANT_BYTES).putLong(occurred).putInt(partition).putLong(offset);
        seen.put((byte) name.length).put(name);
        identities.put(key, seen.array());
        return true;
    }

    private static long micros(String text) {
        Instant moment = Instant.parse(text);
        return moment.getEpochSecond() * 1_000_000 + moment.getNano() / 1_000;
    }

    private static Bytes eventKey(byte[] prefix, long occurred, byte[] id, byte[] digest) {
        return Bytes.wrap(ByteBuffer.allocate(prefix.length + 8 + id.length + 1 + VARIANT_BYTES)
                .put(prefix)
                .putLong(occurred ^ Long.MIN_VALUE)
                .put(id)
                .put((byte) 0)
                .put(digest, 0, VARIANT_BYTES)
                .array());
    }

    private static Bytes joined(byte[] prefix, byte[] name) {
        return Bytes.wrap(
                ByteBuffer.allocate(prefix.length + name.length).put(prefix).put(name).array());
    }

    private static byte[] eventRow(
            byte marks, long commit, String topic, int partition, long offset, byte[] content) {
        byte[] name = topic.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(27 + name.length + content.length)
                .put((byte) 1)
                .put(marks)
                .putLong(commit)
                .putLong(offset)
                .putInt(0)
                .putInt(partition)
                .put((byte) name.length)
                .put(name)
                .put(content)
                .array();
    }
}
