/* The protobuf wire format, and the bytes that our packets are made of: see wire.py and perfetto_layout.py. */

#ifndef ASYNCTRACE_WIRE_H
#define ASYNCTRACE_WIRE_H

#include "varints.h"

/* Of tags, a field's number and wire type: each is one or two bytes. */
#define PACKET_TAG 0x0a        /* of a file, 1: a packet */
#define TIMESTAMP_TAG 0x40     /* of a packet, 8 */
#define SEQUENCE_TAG 0x50      /* of a packet, 10 */
#define TRACK_EVENT_TAG 0x5a   /* of a packet, 11 */
#define TYPE_TAG 0x48          /* of a track event, 9 */
#define TRACK_TAG 0x58         /* of a track event, 11 */
#define COUNTER_TAG 0x60       /* of a track event, 12: the value of an extra counter */

enum { ARROW_BYTES = 10, GAUGE_BYTES = 2 + VARINT_BYTES + 10 };

static const uint8_t EVENT_TAG[2] = {0xb2, 0x7b};          /* of a packet, 1974: an event's record */
static const uint8_t DESCRIPTOR_TAG[2] = {0xe2, 0x03};     /* of a packet, 60: a track */
static const uint8_t BOOTTIME_FIELD[3] = {0xd0, 0x03, 6};  /* of a packet, 58: its time is by the machine's clock */
static const uint8_t ARROW_FROM_TAG[2] = {0xf9, 0x02};     /* of a track event, 47 */
static const uint8_t CORRELATION_TAG[2] = {0xa0, 0x03};    /* of a track event, 52: which slices belong together */
static const uint8_t GAUGE_TRACK_TAG[2] = {0xe8, 0x02};    /* of a track event, 45: whose value is told */
static const uint8_t GAUGE_TAG[2] = {0xf1, 0x02};          /* of a track event, 46: the value, a double */
static const uint8_t ARROW_TO_TAG[2] = {0x81, 0x03};       /* of a track event, 48 */

/* The types of track events. */
enum { BEGIN = 1, END_SLICE = 2, INSTANT = 3 };

#endif
