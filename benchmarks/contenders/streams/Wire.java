import com.fasterxml.jackson.databind.JsonNode;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/** How heads and decisions are written, and what both take from an event. */
final class Wire {
    private static final int MAX_VALUES = 64;

    /** ByteArrayOutputStream without its locks: a head is written for every event. */
    static final class Bytes extends OutputStream {
        private byte[] buffer = new byte[512];
        private int size;

        @Override
        public void write(int value) {
            room(1);
            buffer[size++] = (byte) value;
        }

        @Override
        public void write(byte[] from, int start, int length) {
            room(length);
            System.arraycopy(from, start, buffer, size, length);
            size += length;
        }

        byte[] toByteArray() {
            return Arrays.copyOf(buffer, size);
        }

        private void room(int length) {
            if (size + length > buffer.length) {
                buffer = Arrays.copyOf(buffer, Math.max(2 * buffer.length, size + length));
            }
        }
    }

    /** ByteArrayInputStream without its locks. */
    private static final class Reading extends InputStream {
        private final byte[] bytes;
        private int at;

        Reading(byte[] bytes, int start) {
            this.bytes = bytes;
            at = start;
        }

        @Override
        public int read() {
            return at < bytes.length ? bytes[at++] & 0xff : -1;
        }

        @Override
        public int read(byte[] into, int start, int length) {
            if (at >= bytes.length) {
                return length == 0 ? 0 : -1;
            }
            int taken = Math.min(length, bytes.length - at);
            System.arraycopy(bytes, at, into, start, taken);
            at += taken;
            return taken;
        }
    }

    static DataInputStream opened(byte[] value) {
        if (value[0] != 1) {
            throw new IllegalStateException("a row of another format");
        }
        return new DataInputStream(new Reading(value, 1));
    }

    /** The smallest MAX_VALUES values are kept; null is none. */
    static void put(TreeSet<String> values, String value) {
        if (value != null && values.add(value) && values.size() > MAX_VALUES) {
            values.pollLast();
        }
    }

    static String model(JsonNode data) {
        String name = data.get("provider").textValue() + "/" + data.get("model").textValue();
        return data.hasNonNull("model_version") ? name + "@" + data.get("model_version").textValue() : name;
    }

    static String template(JsonNode data) {
        JsonNode template = data.path("prompt_template");
        return template.isObject()
                ? template.get("template_id").textValue() + "@" + template.get("version").textValue()
                : null;
    }

    @SafeVarargs
    static void write(DataOutputStream out, TreeMap<String, Long>... maps) throws IOException {
        for (TreeMap<String, Long> map : maps) {
            out.writeShort(map.size());
            for (Map.Entry<String, Long> entry : map.entrySet()) {
                out.writeUTF(entry.getKey());
                out.writeLong(entry.getValue());
            }
        }
    }

    @SafeVarargs
    static void write(DataOutputStream out, TreeSet<String>... sets) throws IOException {
        for (TreeSet<String> set : sets) {
            out.writeShort(set.size());
            for (String value : set) {
                out.writeUTF(value);
            }
        }
    }

    @SafeVarargs
    static void read(DataInputStream in, TreeMap<String, Long>... maps) throws IOException {
        for (TreeMap<String, Long> map : maps) {
            for (int left = in.readShort(); left > 0; left--) {
                map.put(in.readUTF(), in.readLong());
            }
        }
    }

    @SafeVarargs
    static void read(DataInputStream in, TreeSet<String>... sets) throws IOException {
        for (TreeSet<String> set : sets) {
            for (int left = in.readShort(); left > 0; left--) {
                set.add(in.readUTF());
            }
        }
    }
}
