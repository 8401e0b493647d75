/* Packed events: bytes that consist of frames, each a head (how many events, how many bytes) and its events. */

#ifndef ASYNCTRACE_PACKING_H
#define ASYNCTRACE_PACKING_H

#include "native.h"

enum { FRAME_HEAD = 8 };

static inline uint8_t *
write_frame_head(uint8_t *place, size_t count, size_t size)
{
    uint32_t head[2] = {(uint32_t)count, (uint32_t)size};
    memcpy(place, head, FRAME_HEAD);
    return place + FRAME_HEAD;
}

#endif
