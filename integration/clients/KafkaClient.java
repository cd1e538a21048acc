import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

/**
 * Kafka's Java client against a broker, with the client's defaults (idempotent producer, acks=all, classic groups):
 *
 *   java -cp "$(kafka.sh classpath)" KafkaClient.java BOOTSTRAP ROLLS_RECORDS
 *
 * Prints one line per check and exits with 1 at the first that fails. It leaves a topic "java-rolls" of one partition,
 * segment.bytes=1 MiB, with ROLLS_RECORDS records per codec, for the dump tool.
 */
public class KafkaClient {
  static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
  static String bootstrap;

  public static void main(String[] args) throws Exception {
    bootstrap = args[0];
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
      for (String codec : CODECS) roundTrip(admin, codec);
      offsets();
      rebalance(admin);
      staticMember(admin);
      tooLarge(admin);
      logAppendTime(admin);
      recreate(admin);
      rolls(admin, Integer.parseInt(args[1]));
    }
  }

  static void check(boolean ok, String what) {
    if (!ok) {
      System.out.println("FAILED " + what);
      System.exit(1);
    }
    System.out.println("ok " + what);
  }

  static Producer<String, byte[]> producer(String... settings) {
    Properties p = new Properties();
    p.put("bootstrap.servers", bootstrap);
    p.put("key.serializer", StringSerializer.class.getName());
    p.put("value.serializer", ByteArraySerializer.class.getName());
    for (int i = 0; i < settings.length; i += 2) p.put(settings[i], settings[i + 1]);
    return new KafkaProducer<>(p);
  }

  static Consumer<String, byte[]> consumer(String group, String... settings) {
    Properties p = new Properties();
    p.put("bootstrap.servers", bootstrap);
    p.put("group.id", group);
    p.put("auto.offset.reset", "earliest");
    p.put("enable.auto.commit", "false");
    p.put("key.deserializer", StringDeserializer.class.getName());
    p.put("value.deserializer", ByteArrayDeserializer.class.getName());
    for (int i = 0; i < settings.length; i += 2) p.put(settings[i], settings[i + 1]);
    return new KafkaConsumer<>(p);
  }

  static void create(Admin admin, String topic, int partitions, Map<String, String> configs) throws Exception {
    admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get(30, TimeUnit.SECONDS);
  }

  static byte[] value(int i) {
    return ("value-" + i + "-" + "x".repeat(i % 200)).getBytes(StandardCharsets.UTF_8);
  }

  /** Polls until n records came or 30 s passed. */
  static List<ConsumerRecord<String, byte[]>> poll(Consumer<String, byte[]> c, int n) {
    List<ConsumerRecord<String, byte[]>> got = new ArrayList<>();
    long end = System.nanoTime() + 30_000_000_000L;
    while (got.size() < n && System.nanoTime() < end) c.poll(Duration.ofMillis(200)).forEach(got::add);
    return got;
  }

  /** Everything a record holds comes back, in order within its partition, and commits are where they were left. */
  static void roundTrip(Admin admin, String codec) throws Exception {
    String topic = "java-" + codec;
    int n = 3000;
    create(admin, topic, 3, Map.of());
    try (Producer<String, byte[]> p = producer("compression.type", codec)) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int i = 0; i < n; i++) {
        ProducerRecord<String, byte[]> r = new ProducerRecord<>(topic, i % 3, 1_700_000_000_000L + i, i % 7 == 0 ? null : "key-" + i, i % 11 == 0 ? null : value(i));
        r.headers().add("n", Integer.toString(i).getBytes(StandardCharsets.UTF_8));
        if (i % 5 == 0) r.headers().add("empty", null);
        sent.add(p.send(r));
      }
      for (int i = 0; i < n; i++) {
        RecordMetadata m = sent.get(i).get(30, TimeUnit.SECONDS);
        if (m.offset() != i / 3 || m.partition() != i % 3) check(false, codec + ": record " + i + " is at " + m);
      }
    }
    boolean[] seen = new boolean[n];
    try (Consumer<String, byte[]> c = consumer("java-group-" + codec, "max.poll.records", "700")) {
      c.subscribe(List.of(topic));
      List<ConsumerRecord<String, byte[]>> got = poll(c, n);
      for (ConsumerRecord<String, byte[]> r : got) {
        int i = (int) r.offset() * 3 + r.partition();
        boolean same = !seen[i] && r.timestamp() == 1_700_000_000_000L + i && Objects.equals(r.key(), i % 7 == 0 ? null : "key-" + i)
            && Arrays.equals(r.value(), i % 11 == 0 ? null : value(i)) && r.leaderEpoch().isPresent();
        Header[] h = r.headers().toArray();
        same &= h.length == (i % 5 == 0 ? 2 : 1) && new String(h[0].value(), StandardCharsets.UTF_8).equals("" + i);
        if (i % 5 == 0) same &= h[1].value() == null;
        if (!same) check(false, codec + ": record " + r);
        seen[i] = true;
      }
      check(got.size() == n, codec + ": " + n + " records there and back");
      c.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(990, Optional.of(0), "note")));
    }
    try (Consumer<String, byte[]> c = consumer("java-group-" + codec)) {
      TopicPartition t0 = new TopicPartition(topic, 0), t1 = new TopicPartition(topic, 1);
      Map<TopicPartition, OffsetAndMetadata> committed = c.committed(Set.of(t0, t1));
      check(committed.get(t0).offset() == 990 && committed.get(t0).metadata().equals("note") && committed.get(t1) == null, codec + ": committed offset with its metadata");
      c.assign(List.of(t0));
      List<ConsumerRecord<String, byte[]>> rest = poll(c, 10);
      check(rest.size() == 10 && rest.get(0).offset() == 990, codec + ": goes on at the committed offset");
    }
  }

  static void offsets() {
    TopicPartition t = new TopicPartition("java-zstd", 1);
    try (Consumer<String, byte[]> c = consumer("java-offsets")) {
      check(c.beginningOffsets(List.of(t)).get(t) == 0 && c.endOffsets(List.of(t)).get(t) == 1000, "beginning and end offsets");
      OffsetAndTimestamp at = c.offsetsForTimes(Map.of(t, 1_700_000_000_000L + 1501)).get(t);
      check(at.offset() == 500 && at.timestamp() == 1_700_000_000_000L + 1501, "offset for a time inside a compressed batch");
      check(c.offsetsForTimes(Map.of(t, 1_800_000_000_000L)).get(t) == null, "no offset for a time in the future");
      c.assign(List.of(t));
      c.seek(t, 123);
      check(poll(c, 1).get(0).offset() == 123, "seek into the middle of a batch");
      c.seek(t, 5000);
      check(poll(c, 1).get(0).offset() == 0, "an offset out of range is reset");
    }
  }

  /** Two members share a topic; when one leaves, the other gets all of it. */
  static void rebalance(Admin admin) throws Exception {
    for (String assignor : List.of("Range", "CooperativeSticky")) {
      String topic = "java-" + assignor, group = "java-group-" + assignor;
      create(admin, topic, 4, Map.of());
      String strategy = "org.apache.kafka.clients.consumer." + assignor + "Assignor";
      String[] settings = {"partition.assignment.strategy", strategy, "session.timeout.ms", "6000", "heartbeat.interval.ms", "500"};
      try (Consumer<String, byte[]> a = consumer(group, settings)) {
        a.subscribe(List.of(topic));
        check(until(a, null, () -> a.assignment().size() == 4), assignor + ": one member has all");
        try (Consumer<String, byte[]> b = consumer(group, settings)) {
          b.subscribe(List.of(topic));
          check(until(a, b, () -> a.assignment().size() == 2 && b.assignment().size() == 2), assignor + ": two members share");
          check(admin.describeConsumerGroups(List.of(group)).all().get(30, TimeUnit.SECONDS).get(group).members().size() == 2, assignor + ": both are described");
        }
        check(until(a, null, () -> a.assignment().size() == 4), assignor + ": the one left has all again");
      }
    }
  }

  static boolean until(Consumer<?, ?> a, Consumer<?, ?> b, BooleanSupplier done) {
    long end = System.nanoTime() + 30_000_000_000L;
    while (System.nanoTime() < end) {
      a.poll(Duration.ofMillis(50));
      if (b != null) b.poll(Duration.ofMillis(50));
      if (done.getAsBoolean()) return true;
    }
    return false;
  }

  /** A static member that comes back within its session keeps its partitions without a rebalance of the group. */
  static void staticMember(Admin admin) throws Exception {
    String topic = "java-static", group = "java-group-static";
    create(admin, topic, 2, Map.of());
    AtomicInteger rebalances = new AtomicInteger();
    ConsumerRebalanceListener count = new ConsumerRebalanceListener() {
      public void onPartitionsRevoked(Collection<TopicPartition> p) {}
      public void onPartitionsAssigned(Collection<TopicPartition> p) { rebalances.incrementAndGet(); }
    };
    String[] one = {"group.instance.id", "one"}, two = {"group.instance.id", "two"};
    try (Consumer<String, byte[]> a = consumer(group, one)) {
      a.subscribe(List.of(topic), count);
      Consumer<String, byte[]> b = consumer(group, two);
      b.subscribe(List.of(topic));
      check(until(a, b, () -> a.assignment().size() == 1 && b.assignment().size() == 1), "static members share");
      Set<TopicPartition> had = b.assignment();
      int before = rebalances.get();
      b.close();
      try (Consumer<String, byte[]> again = consumer(group, two)) {
        again.subscribe(List.of(topic));
        check(until(a, again, () -> again.assignment().size() == 1), "a static member comes back");
        check(again.assignment().equals(had) && rebalances.get() == before, "it has what it had, and nobody else noticed");
      }
      String[] ids = {"one", "two"};
      List<MemberToRemove> remove = new ArrayList<>();
      for (String id : ids) remove.add(new MemberToRemove(id));
      admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(remove)).all().get(30, TimeUnit.SECONDS);
      check(admin.describeConsumerGroups(List.of(group)).all().get(30, TimeUnit.SECONDS).get(group).members().isEmpty(), "static members removed by an administrator");
    }
  }

  static void tooLarge(Admin admin) throws Exception {
    create(admin, "java-large", 1, Map.of("max.message.bytes", "2000"));
    try (Producer<String, byte[]> p = producer()) {
      Throwable cause = null;
      try {
        p.send(new ProducerRecord<>("java-large", new byte[3000])).get(30, TimeUnit.SECONDS);
      } catch (ExecutionException e) {
        cause = e.getCause();
      }
      check(cause instanceof RecordTooLargeException, "a record above max.message.bytes is refused");
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int i = 0; i < 20; i++) sent.add(p.send(new ProducerRecord<>("java-large", new byte[900])));
      for (Future<RecordMetadata> f : sent) f.get(30, TimeUnit.SECONDS);
      check(sent.get(19).get().offset() == 19, "a batch above max.message.bytes is split by the producer");
    }
  }

  static void logAppendTime(Admin admin) throws Exception {
    create(admin, "java-append-time", 1, Map.of("message.timestamp.type", "LogAppendTime", "compression.type", "gzip"));
    long before = System.currentTimeMillis();
    try (Producer<String, byte[]> p = producer("compression.type", "lz4")) {
      RecordMetadata m = p.send(new ProducerRecord<>("java-append-time", 0, 5L, "k", value(1))).get(30, TimeUnit.SECONDS);
      check(m.timestamp() >= before, "the broker's time is in the producer's answer");
    }
    try (Consumer<String, byte[]> c = consumer("java-append-time")) {
      c.subscribe(List.of("java-append-time"));
      ConsumerRecord<String, byte[]> r = poll(c, 1).get(0);
      check(r.timestamp() >= before && r.timestampType().name.equals("LogAppendTime") && Arrays.equals(r.value(), value(1)), "the broker's time is in the record, recompressed");
    }
  }

  /** A topic made again under the same name is a new one, also for clients that knew the old one. */
  static void recreate(Admin admin) throws Exception {
    String topic = "java-again";
    create(admin, topic, 1, Map.of());
    try (Producer<String, byte[]> p = producer("metadata.max.age.ms", "1000"); Consumer<String, byte[]> c = consumer("java-again", "metadata.max.age.ms", "1000")) {
      p.send(new ProducerRecord<>(topic, value(1))).get(30, TimeUnit.SECONDS);
      c.subscribe(List.of(topic));
      check(poll(c, 1).size() == 1, "a record of the first topic");
      admin.deleteTopics(List.of(topic)).all().get(30, TimeUnit.SECONDS);
      create(admin, topic, 1, Map.of());
      Thread.sleep(2000); // more than metadata.max.age.ms
      RecordMetadata m = p.send(new ProducerRecord<>(topic, value(2))).get(30, TimeUnit.SECONDS);
      check(m.offset() == 0, "the second topic begins at 0");
      try (Consumer<String, byte[]> fresh = consumer("java-again-2")) {
        fresh.subscribe(List.of(topic));
        check(Arrays.equals(poll(fresh, 1).get(0).value(), value(2)), "only the new record is there");
      }
    }
  }

  static void rolls(Admin admin, int n) throws Exception {
    String topic = "java-rolls";
    create(admin, topic, 1, Map.of("segment.bytes", "1048576"));
    Random random = new Random(1);
    long end = 0;
    for (String codec : CODECS) {
      try (Producer<String, byte[]> p = producer("compression.type", codec, "batch.size", "8192", "linger.ms", "5")) {
        Future<RecordMetadata> last = null;
        for (int i = 0; i < n; i++) {
          byte[] v = new byte[random.nextInt(900)];
          random.nextBytes(v);
          last = p.send(new ProducerRecord<>(topic, "k" + i, v));
        }
        end = last.get(30, TimeUnit.SECONDS).offset() + 1;
      }
    }
    check(end == (long) n * CODECS.length, "java-rolls holds " + end + " records");
    try (Consumer<String, byte[]> c = consumer("java-rolls")) {
      c.subscribe(List.of(topic));
      check(poll(c, (int) end).size() == end, "all of them come back");
      c.commitSync();
    }
  }
}
