// Deflate-like packing: LZ77 with hash chains and a bit stream of fixed codes; unpacked again and compared.
#include "bench.h"
EXPECT(0xee1a541b0f7271d2)
enum { SIZE = 40000, HASHES = 4096, WINDOW = 8192, CHAIN = 16, LONGEST = 66 };
static uint8_t input[SIZE + 8], packed[2 * SIZE], output[SIZE];
static int heads[HASHES], previous[SIZE];
static uint64_t bits;
static int have;
static size_t at;

static void prepare(void)
{
    static const char *const words[] = { "the ", "machine ", "of ", "guest ", "memory ", "is ", "read ", "by ", "a ", "device\n", "only ", "when ", "its ", "queue ", "says ", "so. " };
    uint32_t seed = 3;
    for (size_t n = 0; n < SIZE;) {
        const char *word = words[next_random(&seed) % 16];
        for (; *word && n < SIZE; word++)
            input[n++] = (uint8_t)*word;
        if (next_random(&seed) % 8 == 0 && n < SIZE)
            input[n++] = (uint8_t)next_random(&seed);
    }
}

static void put(uint32_t value, int count)
{
    bits |= (uint64_t)value << have;
    for (have += count; have >= 8; have -= 8, bits >>= 8)
        packed[at++] = (uint8_t)bits;
}

static uint32_t get(int count)
{
    for (; have < count; have += 8)
        bits |= (uint64_t)packed[at++] << have;
    uint32_t value = (uint32_t)(bits & ((1u << count) - 1));
    bits >>= count;
    have -= count;
    return value;
}

static size_t pack(void)
{
    bits = have = at = 0;
    for (int i = 0; i < HASHES; i++)
        heads[i] = -1;
    for (int i = 0; i < SIZE;) {
        int best = 0, distance = 0, step = 1;
        if (i + 3 < SIZE) {
            uint32_t three = input[i] | (uint32_t)input[i + 1] << 8 | (uint32_t)input[i + 2] << 16;
            int hash = (int)(three * 2654435761u >> 20);
            int tries = CHAIN;
            for (int from = heads[hash]; from >= 0 && i - from < WINDOW && tries-- > 0; from = previous[from]) {
                int length = 0, most = SIZE - i < LONGEST ? SIZE - i : LONGEST;
                while (length < most && input[from + length] == input[i + length])
                    length++;
                if (length > best) {
                    best = length;
                    distance = i - from;
                }
            }
            previous[i] = heads[hash];
            heads[hash] = i;
        }
        if (best >= 3) {
            put(1, 1);
            put((uint32_t)best - 3, 6);
            put((uint32_t)distance, 13);
            step = best;
        } else {
            put(0, 1);
            put(input[i], 8);
        }
        i += step;
    }
    put(0, 8);
    return at;
}

static void unpack(void)
{
    bits = have = at = 0;
    for (int i = 0; i < SIZE;) {
        if (!get(1)) {
            output[i++] = (uint8_t)get(8);
            continue;
        }
        int length = (int)get(6) + 3, distance = (int)get(13);
        for (; length > 0; length--, i++)
            output[i] = output[i - distance];
    }
}

static uint64_t work(void)
{
    size_t size = pack();
    uint64_t sum = size;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + packed[i];
    unpack();
    if (memcmp(input, output, SIZE))
        fail("round trip");
    return sum;
}
#include "main.inc"
