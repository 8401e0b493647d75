/* Numbers as bytes, small ones in few: varints, 7 bits a byte, as in protobuf; of differences, which have a sign, zigzag. */

#ifndef ASYNCTRACE_VARINTS_H
#define ASYNCTRACE_VARINTS_H

#include <stddef.h>
#include <stdint.h>

enum { VARINT_BYTES = 10 };

/* Write a varint; return where it ends. There must be room for VARINT_BYTES. */
static inline uint8_t *
put_varint(uint8_t *at, uint64_t value)
{
    while (value > 127) {
        *at++ = (uint8_t)(value | 128);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline size_t
varint_size(uint64_t value)
{
    size_t size = 1;
    while (value > 127) {
        size++;
        value >>= 7;
    }
    return size;
}

/* 0, -1, 1, -2 ... as 0, 1, 2, 3 ...; of the difference of two unsigned numbers as well. */
static inline uint64_t
zigzag(uint64_t difference)
{
    return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static inline uint64_t
unzigzag(uint64_t value)
{
    return value >> 1 ^ (~(value & 1) + 1);
}

#endif
