// SSE2 integers: saturating sums, products, compares, shuffles and absolute differences over pixels, against plain C.
#include "bench.h"
#include <emmintrin.h>
EXPECT(0x8051c3d744f31144)
enum { SIZE = 16384, ROUNDS = 20 };
static uint8_t x[SIZE], y[SIZE], z[SIZE] __attribute__((aligned(16)));

static void prepare(void)
{
    uint32_t seed = 13;
    for (int i = 0; i < SIZE; i++) {
        x[i] = (uint8_t)next_random(&seed);
        y[i] = (uint8_t)next_random(&seed);
    }
}

static uint64_t work(void)
{
    uint64_t sum = 0;
    for (int r = 0; r < ROUNDS; r++) {
        __m128i sad = _mm_setzero_si128(), acc = _mm_setzero_si128(), k = _mm_set1_epi16((short)(r * 7 + 3));
        for (int i = 0; i < SIZE; i += 16) {
            __m128i a = _mm_loadu_si128((const __m128i *)(x + i)), b = _mm_loadu_si128((const __m128i *)(y + i));
            sad = _mm_add_epi64(sad, _mm_sad_epu8(a, b));
            __m128i m = _mm_mullo_epi16(_mm_unpacklo_epi8(a, b), k), s = _mm_adds_epu8(a, b);
            acc = _mm_add_epi32(acc, _mm_madd_epi16(m, k));
            s = _mm_xor_si128(_mm_max_epu8(s, _mm_srli_epi16(m, 3)), _mm_cmpgt_epi8(a, b));
            _mm_store_si128((__m128i *)(z + i), _mm_shuffle_epi32(s, 0x4E));
        }
        uint64_t halves[2], words[2];
        _mm_storeu_si128((__m128i *)halves, sad);
        _mm_storeu_si128((__m128i *)words, acc);
        sum = mix(mix(sum, halves[0] + halves[1]), words[0] ^ words[1]);
    }
    uint64_t plain = 0, got;
    for (int i = 0; i < SIZE; i++)
        plain += (uint64_t)abs(x[i] - y[i]);
    __m128i check = _mm_setzero_si128();
    for (int i = 0; i < SIZE; i += 16)
        check = _mm_add_epi64(check, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(x + i)), _mm_loadu_si128((const __m128i *)(y + i))));
    got = (uint64_t)_mm_cvtsi128_si64(check) + (uint64_t)_mm_cvtsi128_si64(_mm_srli_si128(check, 8));
    if (plain != got)
        fail("absolute differences");
    for (int i = 0; i < SIZE; i += 61)
        sum = mix(sum, z[i]);
    return sum;
}
#include "main.inc"
