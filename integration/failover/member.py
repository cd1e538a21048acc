"""A member of a consumer group with librdkafka: member.py BROKERS GROUP TOPIC NAME=VALUE...

Prints a line for each record, "record PARTITION OFFSET", and for each assignment and revocation, "moved CODE MEMBER COUNT".
Leaves the group on SIGTERM. It needs Python and librdkafka's library, for kcat takes auto.commit.interval.ms for a property
of topics, which changes nothing in a group.
"""
import ctypes
import signal
import sys


class Partitions(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int), ("size", ctypes.c_int), ("elements", ctypes.c_void_p)]


class Message(ctypes.Structure):
    _fields_ = [("err", ctypes.c_int), ("topic", ctypes.c_void_p), ("partition", ctypes.c_int32),
                ("payload", ctypes.c_void_p), ("len", ctypes.c_size_t), ("key", ctypes.c_void_p), ("key_len", ctypes.c_size_t),
                ("offset", ctypes.c_int64), ("private", ctypes.c_void_p)]


POINTER, TEXT = ctypes.c_void_p, ctypes.c_char_p
Rebalance = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_int, ctypes.POINTER(Partitions), POINTER)
CONSUMER, ASSIGN_PARTITIONS = 1, -175

lib = ctypes.CDLL("librdkafka.so.1")
for name, result, *arguments in (
        ("rd_kafka_conf_new", POINTER),
        ("rd_kafka_conf_set", ctypes.c_int, POINTER, TEXT, TEXT, TEXT, ctypes.c_size_t),
        ("rd_kafka_conf_set_rebalance_cb", None, POINTER, Rebalance),
        ("rd_kafka_new", POINTER, ctypes.c_int, POINTER, TEXT, ctypes.c_size_t),
        ("rd_kafka_poll_set_consumer", ctypes.c_int, POINTER),
        ("rd_kafka_memberid", TEXT, POINTER),
        ("rd_kafka_assign", ctypes.c_int, POINTER, ctypes.POINTER(Partitions)),
        ("rd_kafka_topic_partition_list_new", ctypes.POINTER(Partitions), ctypes.c_int),
        ("rd_kafka_topic_partition_list_add", POINTER, ctypes.POINTER(Partitions), TEXT, ctypes.c_int32),
        ("rd_kafka_subscribe", ctypes.c_int, POINTER, ctypes.POINTER(Partitions)),
        ("rd_kafka_consumer_poll", ctypes.POINTER(Message), POINTER, ctypes.c_int),
        ("rd_kafka_message_destroy", None, ctypes.POINTER(Message)),
        ("rd_kafka_consumer_close", ctypes.c_int, POINTER),
        ("rd_kafka_destroy", None, POINTER)):
    getattr(lib, name).restype, getattr(lib, name).argtypes = result, arguments


def say(*words):
    print(*words, flush=True)


@Rebalance
def moved(client, code, partitions, _):
    say("moved", code, lib.rd_kafka_memberid(client).decode(), partitions.contents.count)
    lib.rd_kafka_assign(client, partitions if code == ASSIGN_PARTITIONS else None)


def open_client(properties):
    conf, why = lib.rd_kafka_conf_new(), ctypes.create_string_buffer(512)
    for name, value in properties:
        if lib.rd_kafka_conf_set(conf, name.encode(), value.encode(), why, len(why)) != 0:
            sys.exit(why.value.decode())
    lib.rd_kafka_conf_set_rebalance_cb(conf, moved)
    client = lib.rd_kafka_new(CONSUMER, conf, why, len(why))
    if not client:
        sys.exit(why.value.decode())
    lib.rd_kafka_poll_set_consumer(client)
    return client


def main(brokers, group, topic, *more):
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    client = open_client([("bootstrap.servers", brokers), ("group.id", group), *(p.split("=", 1) for p in more)])
    topics = lib.rd_kafka_topic_partition_list_new(1)
    lib.rd_kafka_topic_partition_list_add(topics, topic.encode(), -1)
    if code := lib.rd_kafka_subscribe(client, topics):
        sys.exit(f"subscribe: {code}")
    while going:
        if message := lib.rd_kafka_consumer_poll(client, 100):
            if message.contents.err == 0:
                say("record", message.contents.partition, message.contents.offset)
            lib.rd_kafka_message_destroy(message)
    lib.rd_kafka_consumer_close(client)
    lib.rd_kafka_destroy(client)


main(*sys.argv[1:])
