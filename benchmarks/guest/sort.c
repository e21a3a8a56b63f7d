// Integer sort: quicksort with insertion sort for short runs, over 32-bit keys.
#include "bench.h"
EXPECT(0xee2dd9017661ffe4)
enum { COUNT = 20000 };
static int32_t keys[COUNT];

static void prepare(void) { }

static void sort(int32_t *a, long n)
{
    while (n > 12) {
        int32_t pivot = a[n / 2];
        long i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < pivot) i++;
            while (a[j] > pivot) j--;
            if (i <= j) {
                int32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort(a, j + 1);
        a += i;
        n -= i;
    }
    for (long i = 1; i < n; i++) {
        int32_t key = a[i];
        long j = i;
        for (; j > 0 && a[j - 1] > key; j--)
            a[j] = a[j - 1];
        a[j] = key;
    }
}

static uint64_t work(void)
{
    uint32_t seed = 1;
    uint64_t before = 0, after = 0, sum = 0;
    for (int i = 0; i < COUNT; i++)
        before += (uint32_t)(keys[i] = (int32_t)(next_random(&seed) - (1 << 23)));
    sort(keys, COUNT);
    for (int i = 0; i < COUNT; i++) {
        if (i > 0 && keys[i - 1] > keys[i])
            fail("order");
        after += (uint32_t)keys[i];
        sum = mix(sum, (uint32_t)keys[i]);
    }
    if (before != after)
        fail("sum");
    return sum;
}
#include "main.inc"
