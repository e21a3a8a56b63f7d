// Memory copies by 64-bit words, 64 KiB at a time, between buffers that are not congruent.
#include "bench.h"
EXPECT(0x273af93c47897115)
enum { WORDS = 8192, ROUNDS = 20 };
static uint64_t *from, *to;

static void prepare(void)
{
    uint8_t *memory = pages(8 * WORDS * 2 + 65536);
    from = (uint64_t *)memory;
    to = (uint64_t *)(memory + 8 * WORDS + 4096 + 64);
    for (uint64_t i = 0; i < WORDS; i++)
        from[i] = i * 0x9E3779B97F4A7C15u;
}

static uint64_t work(void)
{
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t *s = r & 1 ? to : from, *d = r & 1 ? from : to;
        for (long i = 0; i < WORDS; i++) {
            uint64_t word = s[i];
            __asm__ volatile("" : "+r"(word));
            d[i] = word;
        }
    }
    return mix(mix(to[5], from[WORDS - 1]), to[WORDS / 2]);
}
#include "main.inc"
