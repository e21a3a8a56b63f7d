// The frame of a guest benchmark: PROGRAM N runs the work N times and checks every result. A run of 0 does all but the work,
// so that the difference of two runs is the work alone.
#ifndef BENCH_H
#define BENCH_H
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments;

// Each program defines these; work returns a checksum that is the same every time.
static void prepare(void);
static uint64_t work(void);
#define EXPECT(value) static const uint64_t expected = value;

static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9E3779B97F4A7C15u;
    return sum ^ (sum >> 29);
}

static inline uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline void fail(const char *what)
{
    printf("FAILED %s\n", what);
    exit(1);
}

static inline void *pages(size_t bytes)
{
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    madvise(at, bytes, MADV_NOHUGEPAGE);
    return at;
}
#endif
