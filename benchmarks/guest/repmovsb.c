// Memory copies by rep movsb: pages, then odd lengths at odd places.
#include "bench.h"
EXPECT(0xf619b9a787492ba6)
enum { SIZE = 1 << 20, ROUNDS = 20 };
static uint8_t *from, *to;

static void prepare(void)
{
    from = pages(SIZE + 4096);
    to = pages(SIZE + 4096);
    for (uint32_t i = 0; i < SIZE; i++)
        from[i] = (uint8_t)(i * 2654435761u >> 24);
}

static void copy(uint8_t *d, const uint8_t *s, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

static uint64_t work(void)
{
    for (int r = 0; r < ROUNDS; r++)
        for (uint32_t at = 0; at < SIZE; at += 4096)
            copy(to + at, from + at, 4096);
    uint32_t seed = 5, at = 0;
    for (int i = 0; i < 500; i++) {
        uint32_t n = next_random(&seed) % 300;
        copy(to + at, from + at + 1, n);
        at += n + 7;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SIZE; i += 997)
        sum = mix(sum, to[i]);
    return sum;
}
#include "main.inc"
