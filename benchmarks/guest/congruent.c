// Word copies between buffers whose addresses are equal modulo 16 MiB, which makes direct-mapped look-ups fight.
#include "bench.h"
EXPECT(0x8fb3d33293b78ba4)
enum { APART = 16 << 20, WORDS = 16384, ROUNDS = 10 };
static uint64_t *from, *to;

static void prepare(void)
{
    from = pages(2 * APART);
    to = (uint64_t *)((uint8_t *)from + APART);
    for (uint64_t i = 0; i < WORDS; i++)
        from[i] = i * 0xD1B54A32D192ED03u;
}

static uint64_t work(void)
{
    for (int r = 0; r < ROUNDS; r++)
        for (long i = 0; i < WORDS; i++) {
            uint64_t word = from[i];
            __asm__ volatile("" : "+r"(word));
            to[i] = word;
        }
    return mix(mix(to[3], to[WORDS - 1]), to[WORDS / 2]);
}
#include "main.inc"
