import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.utils.Bytes;

/**
 * What the fold makes of the lines of standard input, as JSON: the numbers of the lines it refuses, how many rows of
 * each kind it keeps, and of each head its events, duplicates, conflicts, late events and digest. Argument: all or lean.
 */
final class Check {
    private static final class Memory implements Fold.Table {
        final Map<Bytes, byte[]> rows = new HashMap<>();

        @Override
        public byte[] get(Bytes key) {
            return rows.get(key);
        }

        @Override
        public void put(Bytes key, byte[] value) {
            rows.put(key, value);
        }
    }

    public static void main(String[] arguments) throws IOException {
        EnumMap<Fold.Kind, Memory> tables = new EnumMap<>(Fold.Kind.class);
        for (Fold.Kind kind : Fold.Kind.kept(arguments[0])) {
            tables.put(kind, new Memory());
        }
        Fold fold = new Fold(new ArrayList<>(tables.values()));
        List<String> refused = new ArrayList<>();
        InputStream in = new BufferedInputStream(System.in);
        long number = 0;
        for (byte[] line = line(in); line != null; line = line(in), number++) {
            try {
                fold.apply(line, 1_000 + number, "topic", 0, number);
            } catch (IllegalArgumentException no) {
                refused.add(Long.toString(number));
            }
        }
        List<String> rows = new ArrayList<>();
        tables.forEach((kind, table) -> rows.add("\"%s\": %d".formatted(kind, table.rows.size())));
        TreeMap<String, String> heads = new TreeMap<>();
        for (Map.Entry<Bytes, byte[]> row : tables.get(Fold.Kind.heads).rows.entrySet()) {
            Head head = Head.decode(row.getValue());
            String name = new String(row.getKey().get(), StandardCharsets.UTF_8).replace('\0', '/');
            heads.put(name, "\"%s\": [%d, %d, %d, %d, \"%064x\"]"
                    .formatted(name, head.count, head.duplicates, head.conflicts, head.late, head.digest));
        }
        new PrintStream(System.out, true, StandardCharsets.UTF_8)
                .printf("{\"refused\": %s, \"rows\": {%s}, \"heads\": {%s}}%n",
                        refused, String.join(", ", rows), String.join(", ", heads.values()));
    }

    private static byte[] line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = in.read(); next != '\n'; next = in.read()) {
            if (next < 0) {
                return null;
            }
            line.write(next);
        }
        return line.toByteArray();
    }
}
