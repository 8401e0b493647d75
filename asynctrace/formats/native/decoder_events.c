#include "decoder_events.h"

#include <stdbool.h>
#include <string.h>

/* As `perfetto_layout` has them. */
enum {
    PACKET_TAG = 0x0A,
    EVENT_TAG_0 = 0xB2,
    RECORD_TAG_0 = 0xBA,
    SECOND_TAG_BYTE = 0x7B, /* of both */
    TIMESTAMP_TAG = 0x40,
    KIND_MASK = 31,
    OTHER_KIND = 0,
    LATE = 30,
    OTHER_THREAD = 31,
    HAS_OTHER = 32,
    HAS_SITE = 64,
    HAS_FLAGS = 128,
};

/* The events whose `other` is a number, not an id: `NUMBER_KINDS` in `perfetto_writer`. */
enum {
    CALL_FINISHED = 12,
    BLOCKING_STARTED = 15,
    CALLBACK_RAN = 20,
    LOST = 22,
    PROCESS_STARTED = 23,
};

enum { VARINT_BYTES = 10 }; /* what 64 bits need, 7 bits a byte */

/* Bytes that are left to read. */
struct span {
    const uint8_t *next;
    const uint8_t *end;
};

static bool
read_long_varint(struct span *span, uint64_t *value)
{
    uint64_t result = 0;
    for (int index = 0; index < VARINT_BYTES && span->next + index < span->end; index++) {
        uint8_t byte = span->next[index];
        if (index == VARINT_BYTES - 1 && byte > 1) {
            return false; /* more than 64 bits, or no end */
        }
        result |= (uint64_t)(byte & 127) << (7 * index);
        if (byte < 128) {
            span->next += index + 1;
            *value = result;
            return true;
        }
    }
    return false;
}

static inline bool
read_varint(struct span *span, uint64_t *value)
{
    if (span->next < span->end && *span->next < 128) {
        *value = *span->next++;
        return true;
    }
    return read_long_varint(span, value);
}

/* Read a number that an event can hold: of 63 bits. */
static inline bool
read_number(struct span *span, int64_t *number)
{
    uint64_t value;
    if (!read_varint(span, &value) || value > INT64_MAX) {
        return false;
    }
    *number = (int64_t)value;
    return true;
}

/* Read the zigzag difference of an id, which has 63 bits, to another. */
static inline bool
read_id(struct span *span, int64_t before, int64_t *id)
{
    uint64_t value;
    if (!read_varint(span, &value)) {
        return false;
    }
    uint64_t size = value >> 1; /* below 2**63: no sum of two such ids leaves 64 bits */
    uint64_t result = (value & 1) ? (uint64_t)before - size - 1 : (uint64_t)before + size;
    if (result > INT64_MAX) {
        return false;
    }
    *id = (int64_t)result;
    return true;
}

static inline bool
holds_number(int64_t kind)
{
    return kind == CALL_FINISHED || kind == BLOCKING_STARTED || kind == CALLBACK_RAN || kind == LOST ||
           kind == PROCESS_STARTED;
}

static bool
read_thread(const struct event_reader *reader, struct span *span, int64_t *thread)
{
    uint64_t number;
    if (!read_varint(span, &number) || number >= reader->thread_count) {
        return false;
    }
    memcpy(thread, reader->threads + number * sizeof *thread, sizeof *thread);
    return true;
}

/* Read an event's record, all but its time. What may follow the fields that are known is for newer versions. */
static bool
read_record(const struct event_reader *reader, struct span span, int64_t *fields)
{
    if (span.next == span.end) {
        return false;
    }
    uint8_t head = *span.next++;
    int64_t thread = reader->thread;
    if ((head & KIND_MASK) == OTHER_THREAD) {
        if (!read_thread(reader, &span, &thread) || span.next == span.end) {
            return false;
        }
        head = *span.next++;
    } else if ((head & KIND_MASK) == LATE) {
        return false;
    }
    int64_t kind = head & KIND_MASK, subject, other = 0, site = 0, flags = 0;
    if (kind == OTHER_KIND && !read_number(&span, &kind)) {
        return false;
    }
    if (!read_id(&span, reader->subject, &subject)) {
        return false;
    }
    if (head & HAS_OTHER) {
        if (!(holds_number(kind) ? read_number(&span, &other) : read_id(&span, subject, &other))) {
            return false;
        }
    }
    if ((head & HAS_SITE) && !read_number(&span, &site)) {
        return false;
    }
    if ((head & HAS_FLAGS) && !read_number(&span, &flags)) {
        return false;
    }
    fields[1] = thread;
    fields[2] = kind;
    fields[3] = subject;
    fields[4] = other;
    fields[5] = site;
    fields[6] = flags;
    return true;
}

/* Read the packet of an event; `packet` begins after the tag of its record. */
static bool
read_event(struct event_reader *reader, struct span packet, int64_t *fields)
{
    size_t record_size = *packet.next++; /* one byte: an event's record is shorter than 128 */
    if (record_size >= (size_t)(packet.end - packet.next)) {
        return false;
    }
    struct span record = {packet.next, packet.next + record_size};
    packet.next = record.end;
    uint64_t delay_ns;
    if (*packet.next++ != TIMESTAMP_TAG || !read_varint(&packet, &delay_ns)) {
        return false;
    }
    uint64_t time_ns = reader->clock_ns + delay_ns; /* modulo 2**64, as the trace processor adds them */
    if (time_ns > INT64_MAX || !read_record(reader, record, fields)) {
        return false;
    }
    fields[0] = (int64_t)time_ns;
    reader->clock_ns = time_ns;
    reader->thread = fields[1];
    reader->subject = fields[3];
    return true;
}

size_t
read_events(struct event_reader *reader, int64_t *fields, size_t most)
{
    const uint8_t *end = reader->content + reader->size;
    size_t count = 0;
    while (count < most && reader->position < reader->size) {
        struct span packet = {reader->content + reader->position, end};
        uint64_t size;
        if (*packet.next++ != PACKET_TAG || !read_varint(&packet, &size) || size > (size_t)(end - packet.next)) {
            break;
        }
        packet.end = packet.next + size;
        if (size > 2 && packet.next[1] == SECOND_TAG_BYTE) {
            if (packet.next[0] == RECORD_TAG_0) {
                break;
            }
            if (packet.next[0] == EVENT_TAG_0) {
                struct span rest = {packet.next + 2, packet.end};
                if (!read_event(reader, rest, fields + count * FIELDS)) {
                    break;
                }
                count++;
            }
        }
        reader->position = (size_t)(packet.end - reader->content);
    }
    return count;
}
